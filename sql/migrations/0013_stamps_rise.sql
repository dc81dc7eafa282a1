-- The times in a file rise in the order of its commits, over all processes and restarts, whatever
-- the clocks do. While a file is open its writers hand the last stamp on to each other. Between
-- uses it is kept here, where the rows do not tell it: the last thing that was done may have been
-- an update, or a claim.

CREATE TABLE stamps (
    id     INTEGER  NOT NULL  PRIMARY KEY,
    stamp  INTEGER  NOT NULL,              -- microseconds: the last one given out

    CONSTRAINT stamps_id_ck
        CHECK (id = 1)                     -- one row
) STRICT;

-- What a new stamp has to exceed: the kept one, and the time of the last row of each table, for a
-- process that was killed could keep none. The last row is found by rowid, log chunks by `seq`, and
-- attempts by their id, which rises: no index on a time is needed, and nothing is scanned.
CREATE VIEW newest_stamp AS
SELECT max(stamp) AS stamp
FROM (
    SELECT stamp FROM stamps
    UNION ALL
    SELECT * FROM (SELECT created_at FROM initiatives ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM projects ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM phases ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM tasks ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM task_attempts ORDER BY id DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM accounts ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM agents ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM messages ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM conversations ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM pages ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM proposals ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM change_sets ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM change_set_entries ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM chat_sessions ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM chat_messages ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM review_comments ORDER BY rowid DESC LIMIT 1)
    UNION ALL
    SELECT * FROM (SELECT created_at FROM agent_log_chunks ORDER BY seq DESC LIMIT 1)
);

-- In a file that has rows already nobody kept the stamp of the last update: look for it, this once.
INSERT INTO stamps (id, stamp)
SELECT 1, max(stamp)
FROM (
    SELECT max(updated_at) AS stamp FROM initiatives
    UNION ALL
    SELECT max(updated_at) AS stamp FROM projects
    UNION ALL
    SELECT max(updated_at) AS stamp FROM phases
    UNION ALL
    SELECT max(updated_at) AS stamp FROM tasks
    UNION ALL
    SELECT max(updated_at) AS stamp FROM task_attempts
    UNION ALL
    SELECT max(updated_at) AS stamp FROM accounts
    UNION ALL
    SELECT max(updated_at) AS stamp FROM agents
    UNION ALL
    SELECT max(updated_at) AS stamp FROM messages
    UNION ALL
    SELECT max(updated_at) AS stamp FROM conversations
    UNION ALL
    SELECT max(updated_at) AS stamp FROM pages
    UNION ALL
    SELECT max(updated_at) AS stamp FROM proposals
    UNION ALL
    SELECT max(updated_at) AS stamp FROM change_sets
    UNION ALL
    SELECT max(updated_at) AS stamp FROM chat_sessions
    UNION ALL
    SELECT max(updated_at) AS stamp FROM review_comments
)
HAVING max(stamp) IS NOT NULL;
