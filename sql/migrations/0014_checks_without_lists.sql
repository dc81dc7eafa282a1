-- `c IN ('a', 'b', 'c')` with more than two members makes SQLite build a small b-tree at every
-- statement that has to check it: of the instructions of a tasks.create that was a third. A chain of
-- OR says the same and builds nothing. Not one value more or less is allowed.
--
-- A named CHECK is exchanged in place: no row is written, nothing is rebuilt.

ALTER TABLE initiatives
    DROP CONSTRAINT initiatives_status_ck;
ALTER TABLE initiatives
    ADD CONSTRAINT initiatives_status_ck
        CHECK (
            status = 'active' OR status = 'pending_review' OR status = 'completed'
            OR status = 'archived'
        );

ALTER TABLE phases
    DROP CONSTRAINT phases_status_ck;
ALTER TABLE phases
    ADD CONSTRAINT phases_status_ck
        CHECK (
            status = 'pending' OR status = 'approved' OR status = 'in_progress'
            OR status = 'completed' OR status = 'blocked'
        );

ALTER TABLE tasks
    DROP CONSTRAINT tasks_type_ck;
ALTER TABLE tasks
    ADD CONSTRAINT tasks_type_ck
        CHECK (
            type = 'auto' OR type = 'checkpoint:human-verify' OR type = 'checkpoint:decision'
            OR type = 'checkpoint:human-action'
        );

ALTER TABLE tasks
    DROP CONSTRAINT tasks_priority_ck;
ALTER TABLE tasks
    ADD CONSTRAINT tasks_priority_ck
        CHECK (
            priority = 'low' OR priority = 'medium' OR priority = 'high'
        );

ALTER TABLE tasks
    DROP CONSTRAINT tasks_status_ck;
ALTER TABLE tasks
    ADD CONSTRAINT tasks_status_ck
        CHECK (
            status = 'pending_approval' OR status = 'pending' OR status = 'in_progress'
            OR status = 'completed' OR status = 'blocked'
        );

ALTER TABLE tasks
    DROP CONSTRAINT tasks_category_ck;
ALTER TABLE tasks
    ADD CONSTRAINT tasks_category_ck
        CHECK (
            category = 'execute' OR category = 'research' OR category = 'discuss'
            OR category = 'plan' OR category = 'detail' OR category = 'refine'
            OR category = 'verify' OR category = 'merge' OR category = 'review'
        );

ALTER TABLE agents
    DROP CONSTRAINT agents_status_ck;
ALTER TABLE agents
    ADD CONSTRAINT agents_status_ck
        CHECK (
            status = 'idle' OR status = 'running' OR status = 'waiting_for_input'
            OR status = 'stopped' OR status = 'crashed'
        );

ALTER TABLE agents
    DROP CONSTRAINT agents_mode_ck;
ALTER TABLE agents
    ADD CONSTRAINT agents_mode_ck
        CHECK (
            mode = 'execute' OR mode = 'discuss' OR mode = 'plan' OR mode = 'detail'
            OR mode = 'refine'
        );

ALTER TABLE messages
    DROP CONSTRAINT messages_type_ck;
ALTER TABLE messages
    ADD CONSTRAINT messages_type_ck
        CHECK (
            type = 'question' OR type = 'info' OR type = 'error' OR type = 'response'
        );

ALTER TABLE messages
    DROP CONSTRAINT messages_status_ck;
ALTER TABLE messages
    ADD CONSTRAINT messages_status_ck
        CHECK (
            status = 'pending' OR status = 'read' OR status = 'responded'
        );

ALTER TABLE proposals
    DROP CONSTRAINT proposals_target_type_ck;
ALTER TABLE proposals
    ADD CONSTRAINT proposals_target_type_ck
        CHECK (
            target_type = 'page' OR target_type = 'phase' OR target_type = 'task'
        );

ALTER TABLE proposals
    DROP CONSTRAINT proposals_status_ck;
ALTER TABLE proposals
    ADD CONSTRAINT proposals_status_ck
        CHECK (
            status = 'pending' OR status = 'accepted' OR status = 'dismissed'
        );

ALTER TABLE change_set_entries
    DROP CONSTRAINT change_set_entries_entity_type_ck;
ALTER TABLE change_set_entries
    ADD CONSTRAINT change_set_entries_entity_type_ck
        CHECK (
            entity_type = 'page' OR entity_type = 'phase' OR entity_type = 'task'
            OR entity_type = 'phase_dependency' OR entity_type = 'task_dependency'
        );

ALTER TABLE change_set_entries
    DROP CONSTRAINT change_set_entries_action_ck;
ALTER TABLE change_set_entries
    ADD CONSTRAINT change_set_entries_action_ck
        CHECK (
            action = 'create' OR action = 'update' OR action = 'delete'
        );

ALTER TABLE chat_messages
    DROP CONSTRAINT chat_messages_role_ck;
ALTER TABLE chat_messages
    ADD CONSTRAINT chat_messages_role_ck
        CHECK (
            role = 'user' OR role = 'assistant' OR role = 'system'
        );

ALTER TABLE review_comments
    DROP CONSTRAINT review_comments_line_type_ck;
ALTER TABLE review_comments
    ADD CONSTRAINT review_comments_line_type_ck
        CHECK (
            line_type = 'added' OR line_type = 'removed' OR line_type = 'context'
        );

-- Moved behind the other two, where it was: a bad action is refused for what it is.
ALTER TABLE change_set_entries
    DROP CONSTRAINT change_set_entries_states_ck;
ALTER TABLE change_set_entries
    ADD CONSTRAINT change_set_entries_states_ck
        CHECK ((action = 'create') = (previous_state IS NULL)
           AND (action = 'delete') = (new_state IS NULL));
