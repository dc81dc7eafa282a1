-- What a user would have instead of cwstore's schema: the same tables, columns, keys and foreign
-- keys, and just the indexes that the statements of the workloads need. No CHECK, trigger or view;
-- no attempts: a claim is a change of status, and the agent's column says who holds the task.
-- `tools/bench --schema plain` and `tools/growth` copy the rows of cwstore's own file into it.

CREATE TABLE initiatives (
    id                       TEXT     NOT NULL PRIMARY KEY,
    name                     TEXT     NOT NULL,
    status                   TEXT     NOT NULL DEFAULT 'active',
    merge_requires_approval  INTEGER  NOT NULL DEFAULT 1,
    branch                   TEXT,
    created_at               INTEGER  NOT NULL,
    updated_at               INTEGER  NOT NULL
);

CREATE TABLE projects (
    id               TEXT     NOT NULL PRIMARY KEY,
    name             TEXT     NOT NULL UNIQUE,
    url              TEXT     NOT NULL UNIQUE,
    default_branch   TEXT     NOT NULL DEFAULT 'main',
    last_fetched_at  INTEGER,
    created_at       INTEGER  NOT NULL,
    updated_at       INTEGER  NOT NULL
);

CREATE TABLE initiative_projects (
    initiative_id  TEXT     NOT NULL REFERENCES initiatives (id) ON DELETE CASCADE,
    project_id     TEXT     NOT NULL REFERENCES projects (id) ON DELETE CASCADE,
    PRIMARY KEY (initiative_id, project_id)
);

CREATE TABLE phases (
    id             TEXT     NOT NULL PRIMARY KEY,
    initiative_id  TEXT     NOT NULL REFERENCES initiatives (id) ON DELETE CASCADE,
    name           TEXT     NOT NULL,
    content        TEXT,
    status         TEXT     NOT NULL DEFAULT 'pending',
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL
);

CREATE TABLE phase_dependencies (
    phase_id             TEXT     NOT NULL REFERENCES phases (id) ON DELETE CASCADE,
    depends_on_phase_id  TEXT     NOT NULL REFERENCES phases (id) ON DELETE CASCADE,
    PRIMARY KEY (phase_id, depends_on_phase_id)
);

CREATE TABLE tasks (
    id                 TEXT     NOT NULL PRIMARY KEY,
    phase_id           TEXT     REFERENCES phases (id) ON DELETE CASCADE,
    initiative_id      TEXT     REFERENCES initiatives (id) ON DELETE CASCADE,
    parent_task_id     TEXT     REFERENCES tasks (id) ON DELETE CASCADE,
    name               TEXT     NOT NULL,
    description        TEXT,
    type               TEXT     NOT NULL DEFAULT 'auto',
    category           TEXT     NOT NULL DEFAULT 'execute',
    priority           TEXT     NOT NULL DEFAULT 'medium',
    status             TEXT     NOT NULL DEFAULT 'pending',
    requires_approval  INTEGER,
    sort_order         INTEGER  NOT NULL DEFAULT 0,
    summary            TEXT,
    created_at         INTEGER  NOT NULL,
    updated_at         INTEGER  NOT NULL
);

-- The tasks of a phase, in their order.
CREATE INDEX tasks_phase_ix
    ON tasks (phase_id, sort_order, created_at, id);

-- The ready tasks of an initiative, and claims of one of them.
CREATE INDEX tasks_initiative_ix
    ON tasks (initiative_id, status);

-- All tasks in their order, whole and by page.
CREATE INDEX tasks_created_ix
    ON tasks (created_at, id);

CREATE TABLE task_dependencies (
    task_id             TEXT     NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    depends_on_task_id  TEXT     NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    PRIMARY KEY (task_id, depends_on_task_id)
);

CREATE TABLE accounts (
    id               TEXT     NOT NULL PRIMARY KEY,
    email            TEXT     NOT NULL,
    provider         TEXT     NOT NULL DEFAULT 'claude',
    config_json      TEXT,
    credentials      TEXT,
    is_exhausted     INTEGER  NOT NULL DEFAULT 0,
    exhausted_until  INTEGER,
    last_used_at     INTEGER,
    sort_order       INTEGER  NOT NULL DEFAULT 0,
    created_at       INTEGER  NOT NULL,
    updated_at       INTEGER  NOT NULL
);

-- The account that was used least recently.
CREATE INDEX accounts_rotation_ix
    ON accounts (provider, last_used_at);

CREATE TABLE agents (
    id                 TEXT     NOT NULL PRIMARY KEY,
    name               TEXT     NOT NULL UNIQUE,
    task_id            TEXT     REFERENCES tasks (id) ON DELETE SET NULL,
    initiative_id      TEXT     REFERENCES initiatives (id) ON DELETE SET NULL,
    session_id         TEXT,
    worktree_id        TEXT     NOT NULL,
    provider           TEXT     NOT NULL DEFAULT 'claude',
    account_id         TEXT     REFERENCES accounts (id) ON DELETE SET NULL,
    status             TEXT     NOT NULL DEFAULT 'idle',
    mode               TEXT     NOT NULL DEFAULT 'execute',
    pid                INTEGER,
    process_token      TEXT,
    exit_code          INTEGER,
    output_file_path   TEXT,
    result             TEXT,
    pending_questions  TEXT,
    user_dismissed_at  INTEGER,
    created_at         INTEGER  NOT NULL,
    updated_at         INTEGER  NOT NULL
);

CREATE TABLE messages (
    id                 TEXT     NOT NULL PRIMARY KEY,
    sender_type        TEXT     NOT NULL,
    sender_id          TEXT     REFERENCES agents (id) ON DELETE SET NULL,
    recipient_type     TEXT     NOT NULL,
    recipient_id       TEXT     REFERENCES agents (id) ON DELETE SET NULL,
    type               TEXT     NOT NULL DEFAULT 'info',
    content            TEXT     NOT NULL,
    requires_response  INTEGER  NOT NULL DEFAULT 0,
    status             TEXT     NOT NULL DEFAULT 'pending',
    parent_message_id  TEXT     REFERENCES messages (id) ON DELETE SET NULL,
    created_at         INTEGER  NOT NULL,
    updated_at         INTEGER  NOT NULL
);

CREATE TABLE conversations (
    id             TEXT     NOT NULL PRIMARY KEY,
    from_agent_id  TEXT     NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    to_agent_id    TEXT     NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    initiative_id  TEXT     REFERENCES initiatives (id) ON DELETE SET NULL,
    phase_id       TEXT     REFERENCES phases (id) ON DELETE SET NULL,
    task_id        TEXT     REFERENCES tasks (id) ON DELETE SET NULL,
    question       TEXT     NOT NULL,
    answer         TEXT,
    status         TEXT     NOT NULL DEFAULT 'pending',
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL
);

-- What waits for an answer of an agent, in its order.
CREATE INDEX conversations_to_agent_ix
    ON conversations (to_agent_id, status, created_at, id);

CREATE TABLE pages (
    id              TEXT     NOT NULL PRIMARY KEY,
    initiative_id   TEXT     NOT NULL REFERENCES initiatives (id) ON DELETE CASCADE,
    parent_page_id  TEXT     REFERENCES pages (id) ON DELETE CASCADE,
    title           TEXT     NOT NULL,
    content         TEXT,
    sort_order      INTEGER  NOT NULL DEFAULT 0,
    created_at      INTEGER  NOT NULL,
    updated_at      INTEGER  NOT NULL
);

CREATE TABLE proposals (
    id             TEXT     NOT NULL PRIMARY KEY,
    agent_id       TEXT     NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    initiative_id  TEXT     NOT NULL REFERENCES initiatives (id) ON DELETE CASCADE,
    target_type    TEXT     NOT NULL,
    target_id      TEXT,
    title          TEXT     NOT NULL,
    summary        TEXT,
    content        TEXT,
    metadata       TEXT,
    status         TEXT     NOT NULL DEFAULT 'pending',
    sort_order     INTEGER  NOT NULL DEFAULT 0,
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL
);

CREATE TABLE change_sets (
    id             TEXT     NOT NULL PRIMARY KEY,
    initiative_id  TEXT     NOT NULL REFERENCES initiatives (id) ON DELETE CASCADE,
    agent_id       TEXT     REFERENCES agents (id) ON DELETE SET NULL,
    agent_name     TEXT,
    summary        TEXT,
    status         TEXT     NOT NULL DEFAULT 'applied',
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL
);

CREATE TABLE change_set_entries (
    id              TEXT     NOT NULL PRIMARY KEY,
    change_set_id   TEXT     NOT NULL REFERENCES change_sets (id) ON DELETE CASCADE,
    entity_type     TEXT     NOT NULL,
    entity_id       TEXT     NOT NULL,
    action          TEXT     NOT NULL,
    previous_state  TEXT,
    new_state       TEXT,
    sort_order      INTEGER  NOT NULL DEFAULT 0,
    created_at      INTEGER  NOT NULL
);

CREATE TABLE chat_sessions (
    id             TEXT     NOT NULL PRIMARY KEY,
    target_type    TEXT     NOT NULL,
    target_id      TEXT     NOT NULL,
    initiative_id  TEXT     NOT NULL REFERENCES initiatives (id) ON DELETE CASCADE,
    agent_id       TEXT     REFERENCES agents (id) ON DELETE SET NULL,
    status         TEXT     NOT NULL DEFAULT 'active',
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL
);

CREATE TABLE chat_messages (
    id               TEXT     NOT NULL PRIMARY KEY,
    chat_session_id  TEXT     NOT NULL REFERENCES chat_sessions (id) ON DELETE CASCADE,
    role             TEXT     NOT NULL,
    content          TEXT     NOT NULL,
    change_set_id    TEXT     REFERENCES change_sets (id) ON DELETE SET NULL,
    created_at       INTEGER  NOT NULL
);

CREATE TABLE review_comments (
    id           TEXT     NOT NULL PRIMARY KEY,
    phase_id     TEXT     NOT NULL REFERENCES phases (id) ON DELETE CASCADE,
    file_path    TEXT     NOT NULL,
    line_number  INTEGER  NOT NULL,
    line_type    TEXT     NOT NULL,
    body         TEXT     NOT NULL,
    author       TEXT     NOT NULL DEFAULT 'you',
    resolved     INTEGER  NOT NULL DEFAULT 0,
    created_at   INTEGER  NOT NULL,
    updated_at   INTEGER  NOT NULL
);

CREATE TABLE agent_log_chunks (
    seq             INTEGER  PRIMARY KEY,
    id              TEXT     NOT NULL UNIQUE,
    agent_id        TEXT     NOT NULL,
    agent_name      TEXT     NOT NULL,
    session_number  INTEGER  NOT NULL,
    content         TEXT     NOT NULL,
    created_at      INTEGER  NOT NULL
);

-- The log of an agent, followed from a chunk on: SQLite adds `seq` to each entry.
CREATE INDEX agent_log_chunks_agent_ix
    ON agent_log_chunks (agent_id);
