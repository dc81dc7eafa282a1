-- What agents write while they run: raw JSONL, never cut or parsed, in chunks as they came.
--
-- Logs survive their agent: agent_id is no foreign key, and agent_name says who it was. An agent's
-- first run is session 1, each resumption the next number. `seq` is the order of arrival and the
-- cursor of readers; AUTOINCREMENT, so that a number that was deleted never comes back.

CREATE TABLE agent_log_chunks (
    seq             INTEGER  PRIMARY KEY AUTOINCREMENT,
    id              TEXT     NOT NULL  UNIQUE,
    agent_id        TEXT     NOT NULL,
    agent_name      TEXT     NOT NULL,
    session_number  INTEGER  NOT NULL,
    content         TEXT     NOT NULL,
    created_at      INTEGER  NOT NULL,

    CONSTRAINT agent_log_chunks_id_ck
        CHECK (id <> ''),
    CONSTRAINT agent_log_chunks_agent_id_ck
        CHECK (agent_id <> ''),
    CONSTRAINT agent_log_chunks_agent_name_ck
        CHECK (agent_name <> ''),
    CONSTRAINT agent_log_chunks_session_number_ck
        CHECK (session_number >= 1)
) STRICT;

-- Both end in `seq`, as every index of a table with an integer key does: the lists need no sort.

-- Serves log_chunks.find_by_agent_id and log_chunks.iter_by_agent_id of all sessions, in their
-- order, and log_chunks.delete_by_agent_id.
CREATE INDEX agent_log_chunks_agent_ix
    ON agent_log_chunks (agent_id);

-- Serves log_chunks.find_by_agent_id and log_chunks.iter_by_agent_id of one session, in their
-- order, log_chunks.get_session_count and log_chunks.prune.
CREATE INDEX agent_log_chunks_session_ix
    ON agent_log_chunks (agent_id, session_number);
