-- Messages pass between agents and the user; in a conversation one agent asks another one
-- something and waits for the answer.

-- The user has no id. That an agent has one is checked when the message is written, not by a
-- CHECK: its mail outlives the agent, with the id set to NULL.
CREATE TABLE messages (
    id                 TEXT     NOT NULL  PRIMARY KEY,
    sender_type        TEXT     NOT NULL,
    sender_id          TEXT     REFERENCES agents (id) ON DELETE SET NULL,    -- NULL: the user, or
                                                                              -- a deleted agent
    recipient_type     TEXT     NOT NULL,
    recipient_id       TEXT     REFERENCES agents (id) ON DELETE SET NULL,    -- NULL: as above
    type               TEXT     NOT NULL  DEFAULT 'info',
    content            TEXT     NOT NULL,
    requires_response  INTEGER  NOT NULL  DEFAULT 0,
    status             TEXT     NOT NULL  DEFAULT 'pending',
    parent_message_id  TEXT     REFERENCES messages (id) ON DELETE SET NULL,  -- NULL: not a reply
    created_at         INTEGER  NOT NULL,
    updated_at         INTEGER  NOT NULL,

    CONSTRAINT messages_id_ck
        CHECK (id <> ''),
    CONSTRAINT messages_sender_type_ck
        CHECK (sender_type IN ('agent', 'user')),
    CONSTRAINT messages_sender_ck
        CHECK (sender_type <> 'user' OR sender_id IS NULL),
    CONSTRAINT messages_recipient_type_ck
        CHECK (recipient_type IN ('agent', 'user')),
    CONSTRAINT messages_recipient_ck
        CHECK (recipient_type <> 'user' OR recipient_id IS NULL),
    CONSTRAINT messages_type_ck
        CHECK (type IN ('question', 'info', 'error', 'response')),
    CONSTRAINT messages_requires_response_ck
        CHECK (requires_response IN (0, 1)),
    CONSTRAINT messages_status_ck
        CHECK (status IN ('pending', 'read', 'responded'))
) STRICT;

-- Serves messages.find_pending_for_user, in its order.
CREATE INDEX messages_pending_for_user_ix
    ON messages (created_at, id)
    WHERE recipient_type = 'user' AND status = 'pending';

-- Serves messages.find_requiring_response of everybody or of a type, in its order.
CREATE INDEX messages_requiring_response_ix
    ON messages (created_at, id)
    WHERE requires_response = 1 AND status <> 'responded';

-- Serves messages.find_requiring_response of one agent, in its order, and agents.delete.
CREATE INDEX messages_recipient_ix
    ON messages (recipient_id, created_at, id)
    WHERE recipient_id IS NOT NULL;

-- Serves agents.delete: finds the messages that lose their sender.
CREATE INDEX messages_sender_ix
    ON messages (sender_id)
    WHERE sender_id IS NOT NULL;

-- Serves messages.find_replies, in its order, and messages.delete.
CREATE INDEX messages_parent_message_ix
    ON messages (parent_message_id, created_at, id)
    WHERE parent_message_id IS NOT NULL;


CREATE TABLE conversations (
    id             TEXT     NOT NULL  PRIMARY KEY,
    from_agent_id  TEXT     NOT NULL  REFERENCES agents (id) ON DELETE CASCADE,
    to_agent_id    TEXT     NOT NULL  REFERENCES agents (id) ON DELETE CASCADE,
    initiative_id  TEXT     REFERENCES initiatives (id) ON DELETE SET NULL,  -- NULL: about none
    phase_id       TEXT     REFERENCES phases (id) ON DELETE SET NULL,       -- NULL: about none
    task_id        TEXT     REFERENCES tasks (id) ON DELETE SET NULL,        -- NULL: about none
    question       TEXT     NOT NULL,
    answer         TEXT,                                   -- NULL: not answered yet
    status         TEXT     NOT NULL  DEFAULT 'pending',
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL,

    CONSTRAINT conversations_id_ck
        CHECK (id <> ''),
    CONSTRAINT conversations_status_ck
        CHECK (status IN ('pending', 'answered')),
    CONSTRAINT conversations_answered_ck
        CHECK ((status = 'answered') = (answer IS NOT NULL))
) STRICT;

-- Serves conversations.find_pending_for_agent, in its order, and agents.delete.
CREATE INDEX conversations_to_agent_ix
    ON conversations (to_agent_id, status, created_at, id);

-- Serves agents.delete: finds the conversations that go with the agent who asked.
CREATE INDEX conversations_from_agent_ix
    ON conversations (from_agent_id);

-- Serves initiatives.delete: finds the conversations that lose their subject.
CREATE INDEX conversations_initiative_ix
    ON conversations (initiative_id)
    WHERE initiative_id IS NOT NULL;

-- Serves phases.delete: finds the conversations that lose their subject.
CREATE INDEX conversations_phase_ix
    ON conversations (phase_id)
    WHERE phase_id IS NOT NULL;

-- Serves tasks.delete: finds the conversations that lose their subject.
CREATE INDEX conversations_task_ix
    ON conversations (task_id)
    WHERE task_id IS NOT NULL;
