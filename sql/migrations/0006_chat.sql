-- The user talks with an agent about one phase or one task, in one active session at a time. A
-- session goes with its target.

-- The target has no foreign key, since it lies in one of two tables; the triggers below stand in.
CREATE TABLE chat_sessions (
    id             TEXT     NOT NULL  PRIMARY KEY,
    target_type    TEXT     NOT NULL,
    target_id      TEXT     NOT NULL,
    initiative_id  TEXT     NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    agent_id       TEXT     REFERENCES agents (id) ON DELETE SET NULL,  -- NULL: nobody answers yet,
                                                                        -- or a deleted agent did
    status         TEXT     NOT NULL  DEFAULT 'active',
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL,

    CONSTRAINT chat_sessions_id_ck
        CHECK (id <> ''),
    CONSTRAINT chat_sessions_target_type_ck
        CHECK (target_type IN ('phase', 'task')),
    CONSTRAINT chat_sessions_target_id_ck
        CHECK (target_id <> ''),
    CONSTRAINT chat_sessions_status_ck
        CHECK (status IN ('active', 'closed'))
) STRICT;

-- One active session per target. Serves chat_sessions.find_active_session.
CREATE UNIQUE INDEX chat_sessions_active_ix
    ON chat_sessions (target_type, target_id)
    WHERE status = 'active';

-- Serves phases.delete and tasks.delete: finds all sessions of the target, the closed ones too.
CREATE INDEX chat_sessions_target_ix
    ON chat_sessions (target_type, target_id);

-- Serves initiatives.delete: finds the sessions that go with the initiative.
CREATE INDEX chat_sessions_initiative_ix
    ON chat_sessions (initiative_id);

-- Serves chat_sessions.find_active_session_by_agent_id (the newest is the last) and agents.delete.
CREATE INDEX chat_sessions_agent_ix
    ON chat_sessions (agent_id, created_at, id)
    WHERE agent_id IS NOT NULL;


CREATE TRIGGER phases_delete_chat_sessions_tg
AFTER DELETE ON phases
BEGIN
    DELETE FROM chat_sessions
    WHERE target_type = 'phase' AND target_id = OLD.id;
END;

CREATE TRIGGER tasks_delete_chat_sessions_tg
AFTER DELETE ON tasks
BEGIN
    DELETE FROM chat_sessions
    WHERE target_type = 'task' AND target_id = OLD.id;
END;


CREATE TABLE chat_messages (
    id               TEXT     NOT NULL  PRIMARY KEY,
    chat_session_id  TEXT     NOT NULL  REFERENCES chat_sessions (id) ON DELETE CASCADE,
    role             TEXT     NOT NULL,
    content          TEXT     NOT NULL,
    change_set_id    TEXT     REFERENCES change_sets (id) ON DELETE SET NULL,  -- NULL: changed
                                                                               -- nothing
    created_at       INTEGER  NOT NULL,

    CONSTRAINT chat_messages_id_ck
        CHECK (id <> ''),
    CONSTRAINT chat_messages_role_ck
        CHECK (role IN ('user', 'assistant', 'system'))
) STRICT;

-- Serves chat_sessions.find_messages_by_session_id, in its order.
CREATE INDEX chat_messages_chat_session_ix
    ON chat_messages (chat_session_id, created_at, id);

-- Serves initiatives.delete: finds the messages whose change set goes with the initiative.
CREATE INDEX chat_messages_change_set_ix
    ON chat_messages (change_set_id)
    WHERE change_set_id IS NOT NULL;
