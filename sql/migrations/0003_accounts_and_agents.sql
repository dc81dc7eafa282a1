-- Agents run tasks, each in a git worktree of its own, on the account of a provider. Accounts take
-- turns: the one that was used least recently comes next, unless its limit is exhausted.

CREATE TABLE accounts (
    id               TEXT     NOT NULL  PRIMARY KEY,
    email            TEXT     NOT NULL,
    provider         TEXT     NOT NULL  DEFAULT 'claude',
    config_json      TEXT,                                 -- NULL: no settings of its own
    credentials      TEXT,                                 -- JSON, SECRET; NULL: held elsewhere
    is_exhausted     INTEGER  NOT NULL  DEFAULT 0,
    exhausted_until  INTEGER,                              -- NULL: until cleared by hand, or
                                                           -- not exhausted at all
    last_used_at     INTEGER,                              -- NULL: never used, so it comes first
    sort_order       INTEGER  NOT NULL  DEFAULT 0,
    created_at       INTEGER  NOT NULL,
    updated_at       INTEGER  NOT NULL,

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
) STRICT;

-- Serves accounts.claim_next_available and accounts.find_next_available, in their order, and
-- finds the time of a provider's latest claim.
CREATE INDEX accounts_rotation_ix
    ON accounts (provider, last_used_at, sort_order, created_at, id);

-- Serves accounts.find_by_provider, in its order.
CREATE INDEX accounts_provider_ix
    ON accounts (provider, sort_order, created_at, id);

-- Serves accounts.clear_expired_exhaustion.
CREATE INDEX accounts_exhausted_until_ix
    ON accounts (exhausted_until)
    WHERE exhausted_until IS NOT NULL;


CREATE TABLE agents (
    id                 TEXT     NOT NULL  PRIMARY KEY,
    name               TEXT     NOT NULL  UNIQUE,          -- adjective-animal
    task_id            TEXT     REFERENCES tasks (id) ON DELETE SET NULL,        -- NULL: no task
    initiative_id      TEXT     REFERENCES initiatives (id) ON DELETE SET NULL,  -- NULL: of none
    session_id         TEXT,                               -- of the CLI, to resume; NULL: none yet
    worktree_id        TEXT     NOT NULL,                  -- path of its git worktree
    provider           TEXT     NOT NULL  DEFAULT 'claude',
    account_id         TEXT     REFERENCES accounts (id) ON DELETE SET NULL,     -- NULL: none
    status             TEXT     NOT NULL  DEFAULT 'idle',
    mode               TEXT     NOT NULL  DEFAULT 'execute',
    pid                INTEGER,                            -- NULL: no process was started
    process_token      TEXT,                               -- start time + boot id, since a pid is
                                                           -- used again; NULL: no process
    exit_code          INTEGER,                            -- NULL: not ended, or nobody saw it end
    output_file_path   TEXT,                               -- NULL: the output goes to no file
    result             TEXT,                               -- JSON; NULL: no result yet
    pending_questions  TEXT,                               -- JSON; NULL: asks nothing
    user_dismissed_at  INTEGER,                            -- NULL: the user still sees it
    created_at         INTEGER  NOT NULL,
    updated_at         INTEGER  NOT NULL,

    CONSTRAINT agents_id_ck
        CHECK (id <> ''),
    CONSTRAINT agents_name_ck
        CHECK (name <> ''),
    CONSTRAINT agents_status_ck
        CHECK (status IN ('idle', 'running', 'waiting_for_input', 'stopped', 'crashed')),
    CONSTRAINT agents_mode_ck
        CHECK (mode IN ('execute', 'discuss', 'plan', 'detail')),
    CONSTRAINT agents_result_ck
        CHECK (result IS NULL OR json_valid(result)),
    CONSTRAINT agents_pending_questions_ck
        CHECK (pending_questions IS NULL OR json_valid(pending_questions))
) STRICT;

-- Serves agents.find_by_task_id, in its order, and tasks.delete.
CREATE INDEX agents_task_ix
    ON agents (task_id, created_at, id)
    WHERE task_id IS NOT NULL;

-- Serves initiatives.delete: finds the agents that lose their initiative.
CREATE INDEX agents_initiative_ix
    ON agents (initiative_id)
    WHERE initiative_id IS NOT NULL;

-- Serves agents.find_by_session_id: the newest is the last entry.
CREATE INDEX agents_session_ix
    ON agents (session_id, created_at, id)
    WHERE session_id IS NOT NULL;

-- Serves accounts.delete: finds the agents that lose their account.
CREATE INDEX agents_account_ix
    ON agents (account_id)
    WHERE account_id IS NOT NULL;

-- Serves agents.find_by_status, in its order, and agents.reconcile.
CREATE INDEX agents_status_ix
    ON agents (status, created_at, id);
