-- The schema of cwstore for PostgreSQL, as of version 17: the same tables, CHECKs, indexes and
-- rules as sql/schema.sql, which says what columns mean and which methods indexes serve. From here
-- on each number of sql/migrations has a script of the same name in this directory.
--
-- What differs from SQLite, and why:
--   * integers, times and booleans are bigint, text is in byte order (COLLATE "C");
--   * `seq` of a log chunk is given by a trigger that holds a lock of the agent: with a plain
--     sequence a later number can be committed first, and a reader by `seq` would miss one;
--   * who closes a cycle is found under the lock of one row, `cycle_guard`, which each transaction
--     that writes an edge updates once. Without it two writers could close a ring together;
--   * `task_arrivals` counts by created_at, since there is no rowid. A task that comes with an
--     older time (by an import) is told by `readiness` instead;
--   * there are no `stamps`, `newest_stamp`, `task_edges_in_doubt` and `phase_edges_in_doubt`: the
--     engine hands stamps on by a sequence of its own, and functions do what those views stand for.

-- SQLite has these two.
CREATE FUNCTION json_valid(document text) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN document IS JSON;

CREATE FUNCTION json_each(document text) RETURNS TABLE (value text)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN json_array_elements_text(document::json);

CREATE TABLE initiatives (
    id                       text COLLATE "C"  NOT NULL  PRIMARY KEY,
    name                     text COLLATE "C"  NOT NULL,
    status                   text COLLATE "C"  NOT NULL  DEFAULT 'active',
    merge_requires_approval  bigint            NOT NULL  DEFAULT 1,
    branch                   text COLLATE "C",
    created_at               bigint            NOT NULL,
    updated_at               bigint            NOT NULL,

    CONSTRAINT initiatives_id_ck
        CHECK (id <> ''),
    CONSTRAINT initiatives_name_ck
        CHECK (name <> ''),
    CONSTRAINT initiatives_merge_requires_approval_ck
        CHECK (merge_requires_approval IN (0, 1)),
    CONSTRAINT initiatives_status_ck
        CHECK (
            status = 'active' OR status = 'pending_review' OR status = 'completed'
            OR status = 'archived'
        )
);

CREATE INDEX initiatives_status_ix
    ON initiatives (status, created_at, id);

CREATE INDEX initiatives_created_ix
    ON initiatives (created_at, id);

CREATE TABLE projects (
    id               text COLLATE "C"  NOT NULL  PRIMARY KEY,
    name             text COLLATE "C"  NOT NULL  UNIQUE,
    url              text COLLATE "C"  NOT NULL  UNIQUE,
    default_branch   text COLLATE "C"  NOT NULL  DEFAULT 'main',
    last_fetched_at  bigint,
    created_at       bigint            NOT NULL,
    updated_at       bigint            NOT NULL,

    CONSTRAINT projects_id_ck
        CHECK (id <> ''),
    CONSTRAINT projects_name_ck
        CHECK (name <> '')
);

CREATE TABLE initiative_projects (
    initiative_id  text COLLATE "C"  NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    project_id     text COLLATE "C"  NOT NULL  REFERENCES projects (id) ON DELETE CASCADE,

    PRIMARY KEY (initiative_id, project_id)
);

CREATE INDEX initiative_projects_project_ix
    ON initiative_projects (project_id);

CREATE TABLE phases (
    id             text COLLATE "C"  NOT NULL  PRIMARY KEY,
    initiative_id  text COLLATE "C"  NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    name           text COLLATE "C"  NOT NULL,
    content        text COLLATE "C",
    status         text COLLATE "C"  NOT NULL  DEFAULT 'pending',
    created_at     bigint            NOT NULL,
    updated_at     bigint            NOT NULL,

    CONSTRAINT phases_id_ck
        CHECK (id <> ''),
    CONSTRAINT phases_name_ck
        CHECK (name <> ''),
    CONSTRAINT phases_content_ck
        CHECK (content IS NULL OR json_valid(content)),
    CONSTRAINT phases_status_ck
        CHECK (
            status = 'pending' OR status = 'approved' OR status = 'in_progress'
            OR status = 'completed' OR status = 'blocked'
        )
);

CREATE INDEX phases_initiative_ix
    ON phases (initiative_id, created_at, id);

CREATE INDEX phases_open_ix
    ON phases (initiative_id, id, status)
    WHERE status = 'approved' OR status = 'in_progress';

CREATE INDEX phases_created_ix
    ON phases (created_at, id);

CREATE TABLE phase_dependencies (
    phase_id             text COLLATE "C"  NOT NULL  REFERENCES phases (id) ON DELETE CASCADE,
    depends_on_phase_id  text COLLATE "C"  NOT NULL  REFERENCES phases (id) ON DELETE CASCADE,

    PRIMARY KEY (phase_id, depends_on_phase_id),
    CONSTRAINT phase_dependencies_itself_ck
        CHECK (phase_id <> depends_on_phase_id)
);

CREATE INDEX phase_dependencies_depends_on_phase_ix
    ON phase_dependencies (depends_on_phase_id);

CREATE TABLE tasks (
    id                 text COLLATE "C"  NOT NULL  PRIMARY KEY,
    phase_id           text COLLATE "C"  REFERENCES phases (id) ON DELETE CASCADE,
    initiative_id      text COLLATE "C"  REFERENCES initiatives (id) ON DELETE CASCADE,
    parent_task_id     text COLLATE "C"  REFERENCES tasks (id) ON DELETE CASCADE,
    name               text COLLATE "C"  NOT NULL,
    description        text COLLATE "C",
    type               text COLLATE "C"  NOT NULL  DEFAULT 'auto',
    category           text COLLATE "C"  NOT NULL  DEFAULT 'execute',
    priority           text COLLATE "C"  NOT NULL  DEFAULT 'medium',
    status             text COLLATE "C"  NOT NULL  DEFAULT 'pending',
    requires_approval  bigint,
    sort_order         bigint            NOT NULL  DEFAULT 0,
    summary            text COLLATE "C",
    created_at         bigint            NOT NULL,
    updated_at         bigint            NOT NULL,

    CONSTRAINT tasks_id_ck
        CHECK (id <> ''),
    CONSTRAINT tasks_itself_ck
        CHECK (parent_task_id <> id),
    CONSTRAINT tasks_name_ck
        CHECK (name <> ''),
    CONSTRAINT tasks_requires_approval_ck
        CHECK (requires_approval IN (0, 1)),
    CONSTRAINT tasks_type_ck
        CHECK (
            type = 'auto' OR type = 'checkpoint:human-verify' OR type = 'checkpoint:decision'
            OR type = 'checkpoint:human-action'
        ),
    CONSTRAINT tasks_priority_ck
        CHECK (
            priority = 'low' OR priority = 'medium' OR priority = 'high'
        ),
    CONSTRAINT tasks_status_ck
        CHECK (
            status = 'pending_approval' OR status = 'pending' OR status = 'in_progress'
            OR status = 'completed' OR status = 'blocked'
        ),
    CONSTRAINT tasks_category_ck
        CHECK (
            category = 'execute' OR category = 'research' OR category = 'discuss'
            OR category = 'plan' OR category = 'detail' OR category = 'refine'
            OR category = 'verify' OR category = 'merge' OR category = 'review'
        )
);

CREATE INDEX tasks_phase_ix
    ON tasks (phase_id, sort_order, created_at, id)
    WHERE phase_id IS NOT NULL;

CREATE INDEX tasks_initiative_ix
    ON tasks (initiative_id, sort_order, created_at, id)
    WHERE initiative_id IS NOT NULL;

CREATE INDEX tasks_parent_task_ix
    ON tasks (parent_task_id, sort_order, created_at, id)
    WHERE parent_task_id IS NOT NULL;

CREATE INDEX tasks_pending_approval_ix
    ON tasks (created_at, id)
    WHERE status = 'pending_approval';

CREATE INDEX tasks_ready_ix
    ON tasks (
        (CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END),
        sort_order, created_at, id
    )
    WHERE status = 'pending';

CREATE INDEX tasks_ready_of_initiative_ix
    ON tasks (
        initiative_id,
        (CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END),
        sort_order, created_at, id
    )
    WHERE status = 'pending';

CREATE INDEX tasks_ready_without_phase_ix
    ON tasks (initiative_id)
    WHERE status = 'pending' AND phase_id IS NULL;

CREATE INDEX tasks_created_ix
    ON tasks (created_at, id);

CREATE INDEX tasks_status_ix
    ON tasks (status, sort_order, created_at, id)
    WHERE status <> 'pending';

CREATE TABLE task_dependencies (
    task_id             text COLLATE "C"  NOT NULL  REFERENCES tasks (id) ON DELETE CASCADE,
    depends_on_task_id  text COLLATE "C"  NOT NULL  REFERENCES tasks (id) ON DELETE CASCADE,

    PRIMARY KEY (task_id, depends_on_task_id),
    CONSTRAINT task_dependencies_itself_ck
        CHECK (task_id <> depends_on_task_id)
);

CREATE INDEX task_dependencies_depends_on_task_ix
    ON task_dependencies (depends_on_task_id);

CREATE TABLE accounts (
    id               text COLLATE "C"  NOT NULL  PRIMARY KEY,
    email            text COLLATE "C"  NOT NULL,
    provider         text COLLATE "C"  NOT NULL  DEFAULT 'claude',
    config_json      text COLLATE "C",
    credentials      text COLLATE "C",
    is_exhausted     bigint            NOT NULL  DEFAULT 0,
    exhausted_until  bigint,

    last_used_at     bigint,
    sort_order       bigint            NOT NULL  DEFAULT 0,
    created_at       bigint            NOT NULL,
    updated_at       bigint            NOT NULL,

    CONSTRAINT accounts_id_ck
        CHECK (id <> ''),
    CONSTRAINT accounts_config_json_ck
        CHECK (config_json IS NULL OR json_valid(config_json)),
    CONSTRAINT accounts_credentials_ck
        CHECK (credentials IS NULL OR json_valid(credentials)),
    CONSTRAINT accounts_is_exhausted_ck
        CHECK (is_exhausted IN (0, 1)),
    CONSTRAINT accounts_exhausted_until_ck
        CHECK (exhausted_until IS NULL OR is_exhausted = 1)
);

CREATE INDEX accounts_rotation_ix
    ON accounts (provider, last_used_at NULLS FIRST, sort_order, created_at, id);

CREATE INDEX accounts_provider_ix
    ON accounts (provider, sort_order, created_at, id);

CREATE INDEX accounts_exhausted_until_ix
    ON accounts (exhausted_until)
    WHERE exhausted_until IS NOT NULL;

CREATE INDEX accounts_order_ix
    ON accounts (sort_order, created_at, id);

CREATE TABLE agents (
    id                 text COLLATE "C"  NOT NULL  PRIMARY KEY,
    name               text COLLATE "C"  NOT NULL  UNIQUE,
    task_id            text COLLATE "C"  REFERENCES tasks (id) ON DELETE SET NULL,
    initiative_id      text COLLATE "C"  REFERENCES initiatives (id) ON DELETE SET NULL,
    session_id         text COLLATE "C",
    worktree_id        text COLLATE "C"  NOT NULL,
    provider           text COLLATE "C"  NOT NULL  DEFAULT 'claude',
    account_id         text COLLATE "C"  REFERENCES accounts (id) ON DELETE SET NULL,
    status             text COLLATE "C"  NOT NULL  DEFAULT 'idle',
    mode               text COLLATE "C"  NOT NULL  DEFAULT 'execute',
    pid                bigint,
    process_token      text COLLATE "C",

    exit_code          bigint,
    output_file_path   text COLLATE "C",
    result             text COLLATE "C",
    pending_questions  text COLLATE "C",
    user_dismissed_at  bigint,
    created_at         bigint            NOT NULL,
    updated_at         bigint            NOT NULL,

    CONSTRAINT agents_id_ck
        CHECK (id <> ''),
    CONSTRAINT agents_name_ck
        CHECK (name <> ''),
    CONSTRAINT agents_result_ck
        CHECK (result IS NULL OR json_valid(result)),
    CONSTRAINT agents_pending_questions_ck
        CHECK (pending_questions IS NULL OR json_valid(pending_questions)),
    CONSTRAINT agents_status_ck
        CHECK (
            status = 'idle' OR status = 'running' OR status = 'waiting_for_input'
            OR status = 'stopped' OR status = 'crashed'
        ),
    CONSTRAINT agents_mode_ck
        CHECK (
            mode = 'execute' OR mode = 'discuss' OR mode = 'plan' OR mode = 'detail'
            OR mode = 'refine'
        )
);

CREATE INDEX agents_task_ix
    ON agents (task_id, created_at, id)
    WHERE task_id IS NOT NULL;

CREATE INDEX agents_initiative_ix
    ON agents (initiative_id)
    WHERE initiative_id IS NOT NULL;

CREATE INDEX agents_session_ix
    ON agents (session_id, created_at, id)
    WHERE session_id IS NOT NULL;

CREATE INDEX agents_account_ix
    ON agents (account_id)
    WHERE account_id IS NOT NULL;

CREATE INDEX agents_status_ix
    ON agents (status, created_at, id);

CREATE INDEX agents_created_ix
    ON agents (created_at, id);

CREATE TABLE messages (
    id                 text COLLATE "C"  NOT NULL  PRIMARY KEY,
    sender_type        text COLLATE "C"  NOT NULL,
    sender_id          text COLLATE "C"  REFERENCES agents (id) ON DELETE SET NULL,

    recipient_type     text COLLATE "C"  NOT NULL,
    recipient_id       text COLLATE "C"  REFERENCES agents (id) ON DELETE SET NULL,
    type               text COLLATE "C"  NOT NULL  DEFAULT 'info',
    content            text COLLATE "C"  NOT NULL,
    requires_response  bigint            NOT NULL  DEFAULT 0,
    status             text COLLATE "C"  NOT NULL  DEFAULT 'pending',
    parent_message_id  text COLLATE "C"  REFERENCES messages (id) ON DELETE SET NULL,
    created_at         bigint            NOT NULL,
    updated_at         bigint            NOT NULL,

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
    CONSTRAINT messages_requires_response_ck
        CHECK (requires_response IN (0, 1)),
    CONSTRAINT messages_type_ck
        CHECK (
            type = 'question' OR type = 'info' OR type = 'error' OR type = 'response'
        ),
    CONSTRAINT messages_status_ck
        CHECK (
            status = 'pending' OR status = 'read' OR status = 'responded'
        )
);

CREATE INDEX messages_pending_for_user_ix
    ON messages (created_at, id)
    WHERE recipient_type = 'user' AND status = 'pending';

CREATE INDEX messages_requiring_response_ix
    ON messages (created_at, id)
    WHERE requires_response = 1 AND status <> 'responded';

CREATE INDEX messages_recipient_ix
    ON messages (recipient_id, recipient_type, created_at, id);

CREATE INDEX messages_sender_ix
    ON messages (sender_id, sender_type, created_at, id);

CREATE INDEX messages_parent_message_ix
    ON messages (parent_message_id, created_at, id)
    WHERE parent_message_id IS NOT NULL;

CREATE INDEX messages_created_ix
    ON messages (created_at, id);

CREATE TABLE conversations (
    id             text COLLATE "C"  NOT NULL  PRIMARY KEY,
    from_agent_id  text COLLATE "C"  NOT NULL  REFERENCES agents (id) ON DELETE CASCADE,
    to_agent_id    text COLLATE "C"  NOT NULL  REFERENCES agents (id) ON DELETE CASCADE,
    initiative_id  text COLLATE "C"  REFERENCES initiatives (id) ON DELETE SET NULL,
    phase_id       text COLLATE "C"  REFERENCES phases (id) ON DELETE SET NULL,
    task_id        text COLLATE "C"  REFERENCES tasks (id) ON DELETE SET NULL,
    question       text COLLATE "C"  NOT NULL,
    answer         text COLLATE "C",
    status         text COLLATE "C"  NOT NULL  DEFAULT 'pending',
    created_at     bigint            NOT NULL,
    updated_at     bigint            NOT NULL,

    CONSTRAINT conversations_id_ck
        CHECK (id <> ''),
    CONSTRAINT conversations_status_ck
        CHECK (status IN ('pending', 'answered')),
    CONSTRAINT conversations_answered_ck
        CHECK ((status = 'answered') = (answer IS NOT NULL))
);

CREATE INDEX conversations_to_agent_ix
    ON conversations (to_agent_id, status, created_at, id);

CREATE INDEX conversations_from_agent_ix
    ON conversations (from_agent_id, created_at, id);

CREATE INDEX conversations_initiative_ix
    ON conversations (initiative_id)
    WHERE initiative_id IS NOT NULL;

CREATE INDEX conversations_phase_ix
    ON conversations (phase_id)
    WHERE phase_id IS NOT NULL;

CREATE INDEX conversations_task_ix
    ON conversations (task_id, created_at, id)
    WHERE task_id IS NOT NULL;

CREATE TABLE pages (
    id              text COLLATE "C"  NOT NULL  PRIMARY KEY,
    initiative_id   text COLLATE "C"  NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    parent_page_id  text COLLATE "C"  REFERENCES pages (id) ON DELETE CASCADE,
    title           text COLLATE "C"  NOT NULL,
    content         text COLLATE "C",
    sort_order      bigint            NOT NULL  DEFAULT 0,
    created_at      bigint            NOT NULL,
    updated_at      bigint            NOT NULL,

    CONSTRAINT pages_id_ck
        CHECK (id <> ''),
    CONSTRAINT pages_itself_ck
        CHECK (parent_page_id <> id),
    CONSTRAINT pages_content_ck
        CHECK (content IS NULL OR json_valid(content))
);

CREATE UNIQUE INDEX pages_root_ix
    ON pages (initiative_id)
    WHERE parent_page_id IS NULL;

CREATE INDEX pages_initiative_ix
    ON pages (initiative_id, sort_order, created_at, id);

CREATE INDEX pages_parent_page_ix
    ON pages (parent_page_id, sort_order, created_at, id)
    WHERE parent_page_id IS NOT NULL;

CREATE INDEX pages_created_ix
    ON pages (created_at, id);

CREATE TABLE proposals (
    id             text COLLATE "C"  NOT NULL  PRIMARY KEY,
    agent_id       text COLLATE "C"  NOT NULL  REFERENCES agents (id) ON DELETE CASCADE,
    initiative_id  text COLLATE "C"  NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    target_type    text COLLATE "C"  NOT NULL,
    target_id      text COLLATE "C",
    title          text COLLATE "C"  NOT NULL,
    summary        text COLLATE "C",
    content        text COLLATE "C",
    metadata       text COLLATE "C",
    status         text COLLATE "C"  NOT NULL  DEFAULT 'pending',
    sort_order     bigint            NOT NULL  DEFAULT 0,
    created_at     bigint            NOT NULL,
    updated_at     bigint            NOT NULL,

    CONSTRAINT proposals_id_ck
        CHECK (id <> ''),
    CONSTRAINT proposals_target_id_ck
        CHECK (target_id <> ''),
    CONSTRAINT proposals_metadata_ck
        CHECK (metadata IS NULL OR json_valid(metadata)),
    CONSTRAINT proposals_target_type_ck
        CHECK (
            target_type = 'page' OR target_type = 'phase' OR target_type = 'task'
        ),
    CONSTRAINT proposals_status_ck
        CHECK (
            status = 'pending' OR status = 'accepted' OR status = 'dismissed'
        )
);

CREATE INDEX proposals_agent_ix
    ON proposals (agent_id, sort_order, created_at, id);

CREATE INDEX proposals_initiative_ix
    ON proposals (initiative_id, sort_order, created_at, id);

CREATE INDEX proposals_created_ix
    ON proposals (created_at, id);

CREATE TABLE change_sets (
    id             text COLLATE "C"  NOT NULL  PRIMARY KEY,
    initiative_id  text COLLATE "C"  NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    agent_id       text COLLATE "C"  REFERENCES agents (id) ON DELETE SET NULL,

    agent_name     text COLLATE "C",
    summary        text COLLATE "C",
    status         text COLLATE "C"  NOT NULL  DEFAULT 'applied',
    created_at     bigint            NOT NULL,
    updated_at     bigint            NOT NULL,

    CONSTRAINT change_sets_id_ck
        CHECK (id <> ''),
    CONSTRAINT change_sets_agent_name_ck
        CHECK (agent_name <> ''),
    CONSTRAINT change_sets_status_ck
        CHECK (status IN ('applied', 'reverted'))
);

CREATE INDEX change_sets_initiative_ix
    ON change_sets (initiative_id, created_at, id);

CREATE INDEX change_sets_agent_ix
    ON change_sets (agent_id)
    WHERE agent_id IS NOT NULL;

CREATE TABLE change_set_entries (
    id              text COLLATE "C"  NOT NULL  PRIMARY KEY,
    change_set_id   text COLLATE "C"  NOT NULL  REFERENCES change_sets (id) ON DELETE CASCADE,
    entity_type     text COLLATE "C"  NOT NULL,
    entity_id       text COLLATE "C"  NOT NULL,
    action          text COLLATE "C"  NOT NULL,
    previous_state  text COLLATE "C",
    new_state       text COLLATE "C",
    sort_order      bigint            NOT NULL  DEFAULT 0,
    created_at      bigint            NOT NULL,

    CONSTRAINT change_set_entries_id_ck
        CHECK (id <> ''),
    CONSTRAINT change_set_entries_entity_id_ck
        CHECK (entity_id <> ''),
    CONSTRAINT change_set_entries_previous_state_ck
        CHECK (previous_state IS NULL OR json_valid(previous_state)),
    CONSTRAINT change_set_entries_new_state_ck
        CHECK (new_state IS NULL OR json_valid(new_state)),
    CONSTRAINT change_set_entries_entity_type_ck
        CHECK (
            entity_type = 'page' OR entity_type = 'phase' OR entity_type = 'task'
            OR entity_type = 'phase_dependency' OR entity_type = 'task_dependency'
        ),
    CONSTRAINT change_set_entries_action_ck
        CHECK (
            action = 'create' OR action = 'update' OR action = 'delete'
        ),
    CONSTRAINT change_set_entries_states_ck
        CHECK ((action = 'create') = (previous_state IS NULL)
           AND (action = 'delete') = (new_state IS NULL))
);

CREATE INDEX change_set_entries_change_set_ix
    ON change_set_entries (change_set_id, sort_order, created_at, id);

CREATE TABLE chat_sessions (
    id             text COLLATE "C"  NOT NULL  PRIMARY KEY,
    target_type    text COLLATE "C"  NOT NULL,
    target_id      text COLLATE "C"  NOT NULL,
    initiative_id  text COLLATE "C"  NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    agent_id       text COLLATE "C"  REFERENCES agents (id) ON DELETE SET NULL,

    status         text COLLATE "C"  NOT NULL  DEFAULT 'active',
    created_at     bigint            NOT NULL,
    updated_at     bigint            NOT NULL,

    CONSTRAINT chat_sessions_id_ck
        CHECK (id <> ''),
    CONSTRAINT chat_sessions_target_type_ck
        CHECK (target_type IN ('phase', 'task')),
    CONSTRAINT chat_sessions_target_id_ck
        CHECK (target_id <> ''),
    CONSTRAINT chat_sessions_status_ck
        CHECK (status IN ('active', 'closed'))
);

CREATE UNIQUE INDEX chat_sessions_active_ix
    ON chat_sessions (target_type, target_id)
    WHERE status = 'active';

CREATE INDEX chat_sessions_target_ix
    ON chat_sessions (target_type, target_id, created_at, id);

CREATE INDEX chat_sessions_initiative_ix
    ON chat_sessions (initiative_id);

CREATE INDEX chat_sessions_agent_ix
    ON chat_sessions (agent_id, created_at, id)
    WHERE agent_id IS NOT NULL;

CREATE TABLE chat_messages (
    id               text COLLATE "C"  NOT NULL  PRIMARY KEY,
    chat_session_id  text COLLATE "C"  NOT NULL  REFERENCES chat_sessions (id) ON DELETE CASCADE,
    role             text COLLATE "C"  NOT NULL,
    content          text COLLATE "C"  NOT NULL,
    change_set_id    text COLLATE "C"  REFERENCES change_sets (id) ON DELETE SET NULL,

    created_at       bigint            NOT NULL,

    CONSTRAINT chat_messages_id_ck
        CHECK (id <> ''),
    CONSTRAINT chat_messages_role_ck
        CHECK (
            role = 'user' OR role = 'assistant' OR role = 'system'
        )
);

CREATE INDEX chat_messages_chat_session_ix
    ON chat_messages (chat_session_id, created_at, id);

CREATE INDEX chat_messages_change_set_ix
    ON chat_messages (change_set_id)
    WHERE change_set_id IS NOT NULL;

CREATE TABLE review_comments (
    id           text COLLATE "C"  NOT NULL  PRIMARY KEY,
    phase_id     text COLLATE "C"  NOT NULL  REFERENCES phases (id) ON DELETE CASCADE,
    file_path    text COLLATE "C"  NOT NULL,
    line_number  bigint            NOT NULL,
    line_type    text COLLATE "C"  NOT NULL,
    body         text COLLATE "C"  NOT NULL,
    author       text COLLATE "C"  NOT NULL  DEFAULT 'you',
    resolved     bigint            NOT NULL  DEFAULT 0,
    created_at   bigint            NOT NULL,
    updated_at   bigint            NOT NULL,

    CONSTRAINT review_comments_id_ck
        CHECK (id <> ''),
    CONSTRAINT review_comments_line_number_ck
        CHECK (line_number >= 1),
    CONSTRAINT review_comments_resolved_ck
        CHECK (resolved IN (0, 1)),
    CONSTRAINT review_comments_line_type_ck
        CHECK (
            line_type = 'added' OR line_type = 'removed' OR line_type = 'context'
        )
);

CREATE INDEX review_comments_phase_ix
    ON review_comments (phase_id, file_path, line_number, created_at, id);

CREATE TABLE agent_log_chunks (
    seq             bigint            PRIMARY KEY,
    id              text COLLATE "C"  NOT NULL  UNIQUE,
    agent_id        text COLLATE "C"  NOT NULL,
    agent_name      text COLLATE "C"  NOT NULL,
    session_number  bigint            NOT NULL,
    content         text COLLATE "C"  NOT NULL,
    created_at      bigint            NOT NULL,

    CONSTRAINT agent_log_chunks_id_ck
        CHECK (id <> ''),
    CONSTRAINT agent_log_chunks_agent_id_ck
        CHECK (agent_id <> ''),
    CONSTRAINT agent_log_chunks_agent_name_ck
        CHECK (agent_name <> ''),
    CONSTRAINT agent_log_chunks_session_number_ck
        CHECK (session_number >= 1)
);

CREATE INDEX agent_log_chunks_agent_ix
    ON agent_log_chunks (agent_id, seq);

CREATE INDEX agent_log_chunks_session_ix
    ON agent_log_chunks (agent_id, session_number, seq);

CREATE TABLE task_attempts (
    id           text COLLATE "C"  NOT NULL,
    task_id      text COLLATE "C"  NOT NULL  REFERENCES tasks (id) ON DELETE CASCADE,
    agent_id     text COLLATE "C"  REFERENCES agents (id) ON DELETE SET NULL,

    agent_name   text COLLATE "C",
    number       bigint            NOT NULL,
    lease_until  bigint,
    outcome      text COLLATE "C",
    detail       text COLLATE "C",

    ended_at     bigint,
    created_at   bigint            NOT NULL,
    updated_at   bigint            NOT NULL,

    PRIMARY KEY (id),
    CONSTRAINT task_attempts_id_ck
        CHECK (id <> ''),
    CONSTRAINT task_attempts_number_ck
        CHECK (number >= 1),
    CONSTRAINT task_attempts_outcome_ck
        CHECK (
            outcome = 'completed' OR outcome = 'released' OR outcome = 'failed'
            OR outcome = 'lost'
        ),
    CONSTRAINT task_attempts_ended_at_ck
        CHECK ((outcome IS NULL) = (ended_at IS NULL))
);

CREATE UNIQUE INDEX task_attempts_task_ix
    ON task_attempts (task_id, number);

CREATE UNIQUE INDEX task_attempts_open_task_ix
    ON task_attempts (task_id)
    WHERE outcome IS NULL;

CREATE UNIQUE INDEX task_attempts_open_agent_ix
    ON task_attempts (agent_id)
    WHERE outcome IS NULL AND agent_id IS NOT NULL;

CREATE INDEX task_attempts_lease_ix
    ON task_attempts (lease_until)
    WHERE outcome IS NULL AND lease_until IS NOT NULL;

CREATE INDEX task_attempts_agent_ix
    ON task_attempts (agent_id)
    WHERE agent_id IS NOT NULL;

CREATE TABLE readiness (
    id       bigint            NOT NULL  PRIMARY KEY,
    changes  bigint            NOT NULL,

    CONSTRAINT readiness_id_ck
        CHECK (id = 1)
);


CREATE TABLE task_levels (
    task_id  text COLLATE "C"  NOT NULL  REFERENCES tasks (id) ON DELETE CASCADE,
    level    bigint            NOT NULL,

    PRIMARY KEY (task_id),
    CONSTRAINT task_levels_level_ck
        CHECK (level >= 1)
);

CREATE TABLE phase_levels (
    phase_id  text COLLATE "C"  NOT NULL  REFERENCES phases (id) ON DELETE CASCADE,
    level     bigint            NOT NULL,

    PRIMARY KEY (phase_id),
    CONSTRAINT phase_levels_level_ck
        CHECK (level >= 1)
);

CREATE TABLE agent_log_sessions (
    agent_id             text COLLATE "C"  NOT NULL  REFERENCES agents (id) ON DELETE CASCADE,
    last_session_number  bigint            NOT NULL,

    PRIMARY KEY (agent_id),
    CONSTRAINT agent_log_sessions_last_session_number_ck
        CHECK (last_session_number >= 1)
);

CREATE VIEW ready_tasks AS
SELECT
    task.id,
    task.phase_id,
    task.initiative_id,
    task.parent_task_id,
    task.name,
    task.description,
    task.type,
    task.category,
    task.priority,
    task.status,
    task.requires_approval,
    task.sort_order,
    task.summary,
    task.created_at,
    task.updated_at
FROM tasks AS task
WHERE task.status = 'pending'
  AND NOT EXISTS (
        SELECT 1
        FROM initiatives AS initiative
        WHERE initiative.id = task.initiative_id
          AND initiative.status <> 'active'
        OFFSET 0
      )
  AND NOT EXISTS (
        SELECT 1
        FROM phases AS phase
        WHERE phase.id = task.phase_id
          AND phase.status NOT IN ('approved', 'in_progress')
        OFFSET 0
      )
  AND NOT EXISTS (
        SELECT 1
        FROM phase_dependencies AS edge
        JOIN phases AS needed ON needed.id = edge.depends_on_phase_id
        WHERE edge.phase_id = task.phase_id
          AND needed.status <> 'completed'
        OFFSET 0
      )
  AND NOT EXISTS (
        SELECT 1
        FROM task_dependencies AS edge
        JOIN tasks AS needed ON needed.id = edge.depends_on_task_id
        WHERE edge.task_id = task.id
          AND needed.status <> 'completed'
        OFFSET 0
      );

CREATE VIEW task_approvals AS
SELECT
    task.id AS task_id,
    coalesce(task.requires_approval, initiative.merge_requires_approval, 1) AS requires_approval
FROM tasks AS task
LEFT JOIN initiatives AS initiative ON initiative.id = task.initiative_id;

CREATE VIEW task_arrivals AS
SELECT created_at AS number, id
FROM tasks;

CREATE TABLE cycle_guard (
    id           bigint  NOT NULL  PRIMARY KEY,
    transaction  bigint  NOT NULL,

    CONSTRAINT cycle_guard_id_ck
        CHECK (id = 1)
);

INSERT INTO cycle_guard (id, transaction)
VALUES (1, 0);

INSERT INTO readiness (id, changes)
VALUES (1, 0);


-- Readiness: once a transaction is enough, since what counts is that the committed number differs.
-- The mark is undone with a savepoint, as the number is.

CREATE FUNCTION note_once() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF current_setting('cwstore.noted', true) IS DISTINCT FROM pg_current_xact_id()::text THEN
        UPDATE readiness SET changes = changes + 1 WHERE id = 1;
        PERFORM set_config('cwstore.noted', pg_current_xact_id()::text, true);
    END IF;
END
$$;

CREATE FUNCTION note_readiness() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM note_once();
    RETURN NULL;
END
$$;

CREATE TRIGGER initiatives_readiness_update_tg
AFTER UPDATE OF status ON initiatives
FOR EACH ROW WHEN (NEW.status = 'active')
EXECUTE FUNCTION note_readiness();

CREATE TRIGGER phases_readiness_update_tg
AFTER UPDATE OF status ON phases
FOR EACH ROW WHEN (
    NEW.status = 'approved' OR NEW.status = 'in_progress' OR NEW.status = 'completed'
)
EXECUTE FUNCTION note_readiness();

CREATE TRIGGER phase_dependencies_readiness_delete_tg
AFTER DELETE ON phase_dependencies
FOR EACH ROW
EXECUTE FUNCTION note_readiness();

CREATE TRIGGER phase_dependencies_readiness_update_tg
AFTER UPDATE ON phase_dependencies
FOR EACH ROW
EXECUTE FUNCTION note_readiness();

CREATE TRIGGER task_dependencies_readiness_update_tg
AFTER UPDATE ON task_dependencies
FOR EACH ROW
EXECUTE FUNCTION note_readiness();

CREATE FUNCTION note_readiness_if_pending() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id AND status = 'pending') THEN
        PERFORM note_once();
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER task_dependencies_readiness_delete_tg
AFTER DELETE ON task_dependencies
FOR EACH ROW
EXECUTE FUNCTION note_readiness_if_pending();

CREATE FUNCTION note_task() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF NEW.status = 'pending'
    OR EXISTS (SELECT 1 FROM task_dependencies WHERE depends_on_task_id = NEW.id) THEN
        PERFORM note_once();
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tasks_readiness_update_tg
AFTER UPDATE OF id, phase_id, initiative_id, type, category, status ON tasks
FOR EACH ROW WHEN (
    NEW.status = 'pending' OR NEW.status = 'completed' AND OLD.status <> 'completed'
)
EXECUTE FUNCTION note_task();

-- Numbers of task_arrivals are times: one that is not the newest would not be noticed, nor one that
-- comes again after the newest was deleted.
CREATE FUNCTION note_arrival() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM tasks WHERE created_at > NEW.created_at) THEN
        PERFORM note_once();
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tasks_readiness_insert_tg
AFTER INSERT ON tasks
FOR EACH ROW
EXECUTE FUNCTION note_arrival();

CREATE FUNCTION note_departure() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM tasks WHERE created_at > OLD.created_at) THEN
        PERFORM note_once();
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tasks_readiness_delete_tg
AFTER DELETE ON tasks
FOR EACH ROW
EXECUTE FUNCTION note_departure();


-- Nothing waits for itself or contains itself. In its own words each guard raises CW001.

CREATE FUNCTION take_cycle_guard() RETURNS void
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    UPDATE cycle_guard
    SET transaction = pg_current_xact_id()::text::bigint
    WHERE id = 1
      AND transaction <> pg_current_xact_id()::text::bigint;
END
$$;

CREATE FUNCTION level_of_phase(phase text) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT coalesce((SELECT level FROM phase_levels WHERE phase_id = phase), 0)
$$;

-- As of tasks: see below.
CREATE FUNCTION refuse_phase_cycle() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    goal bigint;
    start bigint;
BEGIN
    PERFORM take_cycle_guard();
    start := level_of_phase(NEW.depends_on_phase_id);
    IF level_of_phase(NEW.phase_id) > start
    OR start = level_of_phase(NEW.phase_id) AND NOT (
        EXISTS (SELECT 1 FROM phase_dependencies WHERE depends_on_phase_id = NEW.phase_id)
        AND EXISTS (SELECT 1 FROM phase_dependencies WHERE phase_id = NEW.depends_on_phase_id)
    ) THEN
        RETURN NULL;
    END IF;
    SELECT start + (count(*) = 64)::int INTO goal
    FROM (
        WITH RECURSIVE needed (id) AS (
            SELECT depends_on_phase_id FROM phase_dependencies
            WHERE phase_id = NEW.phase_id AND depends_on_phase_id = NEW.depends_on_phase_id
            UNION
            SELECT edge.depends_on_phase_id
            FROM needed
            JOIN phase_dependencies AS edge ON edge.phase_id = needed.id
            WHERE level_of_phase(edge.depends_on_phase_id) = start
        )
        SELECT 1 FROM needed LIMIT 64
    ) AS counted;
    INSERT INTO phase_levels (phase_id, level)
    SELECT id, goal
    FROM (
        WITH RECURSIVE waiting (id) AS (
            SELECT id FROM phases WHERE id = NEW.phase_id AND level_of_phase(id) < goal
            UNION
            SELECT edge.phase_id
            FROM waiting
            JOIN phase_dependencies AS edge ON edge.depends_on_phase_id = waiting.id
            WHERE level_of_phase(edge.phase_id) < goal
        )
        SELECT id FROM waiting
    ) AS lifted
    ON CONFLICT (phase_id) DO UPDATE SET level = excluded.level;
    IF level_of_phase(NEW.phase_id) <= level_of_phase(NEW.depends_on_phase_id) AND EXISTS (
        WITH RECURSIVE needed (id) AS (
            SELECT depends_on_phase_id FROM phase_dependencies
            WHERE phase_id = NEW.phase_id AND depends_on_phase_id = NEW.depends_on_phase_id
            UNION
            SELECT edge.depends_on_phase_id
            FROM needed
            JOIN phase_dependencies AS edge ON edge.phase_id = needed.id
            WHERE level_of_phase(edge.depends_on_phase_id) = level_of_phase(NEW.depends_on_phase_id)
        )
        SELECT 1 FROM needed WHERE id = NEW.phase_id
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'CW001', MESSAGE = 'cycle: phase_dependencies';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER phase_dependencies_no_cycle_insert_tg
AFTER INSERT ON phase_dependencies
FOR EACH ROW
EXECUTE FUNCTION refuse_phase_cycle();

CREATE TRIGGER phase_dependencies_no_cycle_update_tg
AFTER UPDATE OF phase_id, depends_on_phase_id ON phase_dependencies
FOR EACH ROW
EXECUTE FUNCTION refuse_phase_cycle();

CREATE FUNCTION refuse_task_parent_cycle() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    -- A new row has children only if the same statement wrote them: nobody else need wait for it.
    IF TG_OP = 'INSERT' AND NOT EXISTS (SELECT 1 FROM tasks WHERE parent_task_id = NEW.id) THEN
        RETURN NULL;
    END IF;
    PERFORM take_cycle_guard();
    IF EXISTS (
        WITH RECURSIVE above (id) AS (
            SELECT parent_task_id FROM tasks WHERE id = NEW.id AND parent_task_id IS NOT NULL
            UNION
            SELECT task.parent_task_id
            FROM above
            JOIN tasks AS task ON task.id = above.id
            WHERE task.parent_task_id IS NOT NULL
        )
        SELECT 1 FROM above WHERE id = NEW.id
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'CW001', MESSAGE = 'cycle: tasks.parent_task_id';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER tasks_no_cycle_insert_tg
AFTER INSERT ON tasks
FOR EACH ROW WHEN (NEW.parent_task_id IS NOT NULL)
EXECUTE FUNCTION refuse_task_parent_cycle();

CREATE TRIGGER tasks_no_cycle_update_tg
AFTER UPDATE OF id, parent_task_id ON tasks
FOR EACH ROW WHEN (NEW.parent_task_id IS NOT NULL)
EXECUTE FUNCTION refuse_task_parent_cycle();

CREATE FUNCTION refuse_page_parent_cycle() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NOT EXISTS (SELECT 1 FROM pages WHERE parent_page_id = NEW.id) THEN
        RETURN NULL;
    END IF;
    PERFORM take_cycle_guard();
    IF EXISTS (
        WITH RECURSIVE above (id) AS (
            SELECT parent_page_id FROM pages WHERE id = NEW.id AND parent_page_id IS NOT NULL
            UNION
            SELECT page.parent_page_id
            FROM above
            JOIN pages AS page ON page.id = above.id
            WHERE page.parent_page_id IS NOT NULL
        )
        SELECT 1 FROM above WHERE id = NEW.id
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'CW001', MESSAGE = 'cycle: pages.parent_page_id';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER pages_no_cycle_insert_tg
AFTER INSERT ON pages
FOR EACH ROW WHEN (NEW.parent_page_id IS NOT NULL)
EXECUTE FUNCTION refuse_page_parent_cycle();

CREATE TRIGGER pages_no_cycle_update_tg
AFTER UPDATE OF id, parent_page_id ON pages
FOR EACH ROW WHEN (NEW.parent_page_id IS NOT NULL)
EXECUTE FUNCTION refuse_page_parent_cycle();

CREATE FUNCTION level_of_task(task text) RETURNS bigint
LANGUAGE sql STABLE
AS $$
    SELECT coalesce((SELECT level FROM task_levels WHERE task_id = task), 0)
$$;

-- An edge to a task of a lower level closes no cycle: see task_levels in sql/schema.sql. Where the
-- needed task depends on 64 of its level or more, the waiting one is lifted above them, with all
-- that wait for it. Then the cycle is looked for in levels that are right: had the edge closed one,
-- its two ends would be on one level.
CREATE FUNCTION refuse_task_cycle() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    goal bigint;
    start bigint;
BEGIN
    PERFORM take_cycle_guard();
    start := level_of_task(NEW.depends_on_task_id);
    IF level_of_task(NEW.task_id) > start
    OR start = level_of_task(NEW.task_id) AND NOT (
        EXISTS (SELECT 1 FROM task_dependencies WHERE depends_on_task_id = NEW.task_id)
        AND EXISTS (SELECT 1 FROM task_dependencies WHERE task_id = NEW.depends_on_task_id)
    ) THEN
        RETURN NULL;
    END IF;
    SELECT start + (count(*) = 64)::int INTO goal
    FROM (
        WITH RECURSIVE needed (id) AS (
            SELECT depends_on_task_id FROM task_dependencies
            WHERE task_id = NEW.task_id AND depends_on_task_id = NEW.depends_on_task_id
            UNION
            SELECT edge.depends_on_task_id
            FROM needed
            JOIN task_dependencies AS edge ON edge.task_id = needed.id
            WHERE level_of_task(edge.depends_on_task_id) = start
        )
        SELECT 1 FROM needed LIMIT 64
    ) AS counted;
    INSERT INTO task_levels (task_id, level)
    SELECT id, goal
    FROM (
        WITH RECURSIVE waiting (id) AS (
            SELECT id FROM tasks WHERE id = NEW.task_id AND level_of_task(id) < goal
            UNION
            SELECT edge.task_id
            FROM waiting
            JOIN task_dependencies AS edge ON edge.depends_on_task_id = waiting.id
            WHERE level_of_task(edge.task_id) < goal
        )
        SELECT id FROM waiting
    ) AS lifted
    ON CONFLICT (task_id) DO UPDATE SET level = excluded.level;
    IF level_of_task(NEW.task_id) <= level_of_task(NEW.depends_on_task_id) AND EXISTS (
        WITH RECURSIVE needed (id) AS (
            SELECT depends_on_task_id FROM task_dependencies
            WHERE task_id = NEW.task_id AND depends_on_task_id = NEW.depends_on_task_id
            UNION
            SELECT edge.depends_on_task_id
            FROM needed
            JOIN task_dependencies AS edge ON edge.task_id = needed.id
            WHERE level_of_task(edge.depends_on_task_id) = level_of_task(NEW.depends_on_task_id)
        )
        SELECT 1 FROM needed WHERE id = NEW.task_id
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'CW001', MESSAGE = 'cycle: task_dependencies';
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER task_dependencies_no_cycle_insert_tg
AFTER INSERT ON task_dependencies
FOR EACH ROW
EXECUTE FUNCTION refuse_task_cycle();

CREATE TRIGGER task_dependencies_no_cycle_update_tg
AFTER UPDATE OF task_id, depends_on_task_id ON task_dependencies
FOR EACH ROW
EXECUTE FUNCTION refuse_task_cycle();

-- A level that somebody lowers or removes would let a cycle through.
CREATE FUNCTION refuse_lower_level() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'CW002',
        MESSAGE = TG_TABLE_NAME || ': a level is lifted and never lowered';
END
$$;

CREATE TRIGGER task_levels_only_rise_tg
BEFORE UPDATE ON task_levels
FOR EACH ROW WHEN (NEW.task_id <> OLD.task_id OR NEW.level < OLD.level)
EXECUTE FUNCTION refuse_lower_level();

CREATE TRIGGER phase_levels_only_rise_tg
BEFORE UPDATE ON phase_levels
FOR EACH ROW WHEN (NEW.phase_id <> OLD.phase_id OR NEW.level < OLD.level)
EXECUTE FUNCTION refuse_lower_level();

CREATE FUNCTION keep_task_level() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'CW002',
            MESSAGE = 'task_levels: a level goes with its task only';
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER task_levels_stay_tg
BEFORE DELETE ON task_levels
FOR EACH ROW
EXECUTE FUNCTION keep_task_level();

CREATE FUNCTION keep_phase_level() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM phases WHERE id = OLD.phase_id) THEN
        RAISE EXCEPTION USING ERRCODE = 'CW002',
            MESSAGE = 'phase_levels: a level goes with its phase only';
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER phase_levels_stay_tg
BEFORE DELETE ON phase_levels
FOR EACH ROW
EXECUTE FUNCTION keep_phase_level();


-- Chats go with their target.

CREATE FUNCTION delete_chat_sessions() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    DELETE FROM chat_sessions
    WHERE target_type = TG_ARGV[0] AND target_id = OLD.id;
    RETURN NULL;
END
$$;

CREATE TRIGGER phases_delete_chat_sessions_tg
AFTER DELETE ON phases
FOR EACH ROW
EXECUTE FUNCTION delete_chat_sessions('phase');

CREATE TRIGGER tasks_delete_chat_sessions_tg
AFTER DELETE ON tasks
FOR EACH ROW
EXECUTE FUNCTION delete_chat_sessions('task');


-- Claims have holders: see sql/schema.sql.

CREATE FUNCTION end_attempt() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    UPDATE task_attempts
    SET outcome = CASE NEW.status WHEN 'completed' THEN 'completed' ELSE 'released' END,
        ended_at = NEW.updated_at,
        updated_at = greatest(NEW.updated_at, updated_at + 1)
    WHERE task_id = NEW.id
      AND outcome IS NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER tasks_end_attempt_tg
AFTER UPDATE OF status ON tasks
FOR EACH ROW WHEN (OLD.status = 'in_progress' AND NEW.status <> 'in_progress')
EXECUTE FUNCTION end_attempt();

CREATE FUNCTION lose_attempt() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
DECLARE
    held text;
    moment bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
BEGIN
    UPDATE task_attempts
    SET outcome = 'lost',
        detail = 'the agent was deleted',
        ended_at = greatest(moment, updated_at + 1),
        updated_at = greatest(moment, updated_at + 1)
    WHERE agent_id = OLD.id
      AND outcome IS NULL
    RETURNING task_id INTO held;
    UPDATE tasks
    SET status = 'pending',
        updated_at = greatest(moment, updated_at + 1)
    WHERE status = 'in_progress'
      AND id = held;
    RETURN OLD;
END
$$;

CREATE TRIGGER agents_lose_attempt_tg
BEFORE DELETE ON agents
FOR EACH ROW
EXECUTE FUNCTION lose_attempt();


-- Logs.

CREATE SEQUENCE agent_log_chunks_seq
    OWNED BY agent_log_chunks.seq;

CREATE FUNCTION number_log_chunk() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(17239, hashtext(NEW.agent_id));
    IF NEW.seq IS NULL THEN
        NEW.seq := nextval('agent_log_chunks_seq');
    ELSIF NEW.seq > (SELECT last_value FROM agent_log_chunks_seq) THEN
        PERFORM setval('agent_log_chunks_seq', NEW.seq);
    END IF;
    RETURN NEW;
END
$$;

CREATE TRIGGER agent_log_chunks_number_tg
BEFORE INSERT ON agent_log_chunks
FOR EACH ROW
EXECUTE FUNCTION number_log_chunk();

CREATE FUNCTION keep_session_number() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT
AS $$
BEGIN
    INSERT INTO agent_log_sessions AS kept (agent_id, last_session_number)
    SELECT id, OLD.session_number
    FROM agents
    WHERE id = OLD.agent_id
    ON CONFLICT (agent_id) DO UPDATE SET last_session_number = excluded.last_session_number
    WHERE excluded.last_session_number > kept.last_session_number;
    RETURN NULL;
END
$$;

CREATE TRIGGER agent_log_chunks_keep_session_number_tg
AFTER DELETE ON agent_log_chunks
FOR EACH ROW
EXECUTE FUNCTION keep_session_number();
