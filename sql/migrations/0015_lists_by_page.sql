-- Lists are read a page at a time, and a page costs what it returns: each list has an index in its
-- order. Mail, questions and chats are found by who wrote them and what they are about.
--
-- Only indexes change. Those that are replaced get more columns behind the ones that they had, so
-- they go on serving the foreign keys, and the statements of older code.
--
-- drops: index messages_recipient_ix
-- drops: index messages_sender_ix
-- drops: index conversations_from_agent_ix
-- drops: index conversations_task_ix
-- drops: index chat_sessions_target_ix

-- Serves initiatives.find_all, in its order.
CREATE INDEX initiatives_created_ix
    ON initiatives (created_at, id);

-- Serves phases.find_all, in its order.
CREATE INDEX phases_created_ix
    ON phases (created_at, id);

-- Serves tasks.find_all, in its order.
CREATE INDEX tasks_created_ix
    ON tasks (created_at, id);

-- Serves tasks.find_by_status and tasks.count_by_status of all initiatives, in their order. Those
-- that are pending are found by tasks_ready_ix: a new task enters one index less.
CREATE INDEX tasks_status_ix
    ON tasks (status, sort_order, created_at, id)
    WHERE status <> 'pending';

-- Serves accounts.find_all, in its order.
CREATE INDEX accounts_order_ix
    ON accounts (sort_order, created_at, id);

-- Serves agents.find_all, in its order.
CREATE INDEX agents_created_ix
    ON agents (created_at, id);

-- Serves messages.find_all, in its order, and messages.find_for_recipient and find_by_sender of all
-- agents, who have a good part of all mail.
CREATE INDEX messages_created_ix
    ON messages (created_at, id);

DROP INDEX messages_recipient_ix;

-- Serves messages.find_for_recipient, in its order, messages.find_requiring_response of one agent,
-- and agents.delete. The user has no id: his mail is under NULL.
CREATE INDEX messages_recipient_ix
    ON messages (recipient_id, recipient_type, created_at, id);

DROP INDEX messages_sender_ix;

-- Serves messages.find_by_sender, in its order, and agents.delete.
CREATE INDEX messages_sender_ix
    ON messages (sender_id, sender_type, created_at, id);

DROP INDEX conversations_from_agent_ix;

-- Serves conversations.find_by_from_agent_id, in its order, and agents.delete.
CREATE INDEX conversations_from_agent_ix
    ON conversations (from_agent_id, created_at, id);

DROP INDEX conversations_task_ix;

-- Serves conversations.find_by_task_id, in its order, and tasks.delete.
CREATE INDEX conversations_task_ix
    ON conversations (task_id, created_at, id)
    WHERE task_id IS NOT NULL;

-- Serves pages.find_all, in its order.
CREATE INDEX pages_created_ix
    ON pages (created_at, id);

-- Serves proposals.find_all, in its order.
CREATE INDEX proposals_created_ix
    ON proposals (created_at, id);

DROP INDEX chat_sessions_target_ix;

-- Serves chat_sessions.find_sessions, in its order, phases.delete and tasks.delete: they take the
-- closed ones along, too.
CREATE INDEX chat_sessions_target_ix
    ON chat_sessions (target_type, target_id, created_at, id);
