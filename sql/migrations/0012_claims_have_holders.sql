-- Each claim of a task opens an attempt, and whoever reports on the task must hold it. A worker that
-- was killed is told from one that works, a late one cannot write over its successor's result, and
-- what a task went through can be read afterwards.
--
-- Tasks that are in progress already get an attempt: of the agent that has them (one that runs, else
-- the newest), or of nobody named.
--
-- Code of older versions is not declared compatible: it would give back a task whose holder it does
-- not look for.

CREATE TABLE task_attempts (
    id           TEXT     NOT NULL,
    task_id      TEXT     NOT NULL  REFERENCES tasks (id) ON DELETE CASCADE,
    agent_id     TEXT     REFERENCES agents (id) ON DELETE SET NULL,  -- NULL: claimed by nobody
                                                                      -- named, or the agent is gone
    agent_name   TEXT,                                -- its name then; NULL: claimed by nobody named
    number       INTEGER  NOT NULL,                   -- 1, 2, ... within the task
    lease_until  INTEGER,                             -- NULL: no lease
    outcome      TEXT,                                -- NULL: open
    detail       TEXT,                                -- why it was released, failed or lost; NULL:
                                                      -- completed, open, or no reason was given
    ended_at     INTEGER,                             -- NULL: open
    created_at   INTEGER  NOT NULL,
    updated_at   INTEGER  NOT NULL,

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
) STRICT, WITHOUT ROWID;

-- Serves tasks.find_attempts, in its order, the number of the next attempt, and tasks.delete.
CREATE UNIQUE INDEX task_attempts_task_ix
    ON task_attempts (task_id, number);

-- At most one open attempt of a task. Serves tasks.complete, release, fail, extend_lease and
-- find_open_attempts.
CREATE UNIQUE INDEX task_attempts_open_task_ix
    ON task_attempts (task_id)
    WHERE outcome IS NULL;

-- At most one open attempt of an agent. Serves tasks.claim, tasks.find_open_attempts of an agent,
-- agents.reconcile and agents.delete.
CREATE UNIQUE INDEX task_attempts_open_agent_ix
    ON task_attempts (agent_id)
    WHERE outcome IS NULL AND agent_id IS NOT NULL;

-- Serves tasks.expire_leases, and the look of tasks.claim_next_ready whether a lease has passed.
CREATE INDEX task_attempts_lease_ix
    ON task_attempts (lease_until)
    WHERE outcome IS NULL AND lease_until IS NOT NULL;

-- Serves agents.delete: finds the attempts that lose their agent.
CREATE INDEX task_attempts_agent_ix
    ON task_attempts (agent_id)
    WHERE agent_id IS NOT NULL;

-- Serves tasks.claim_next_ready where the first tasks in line are held back: it then looks at phases
-- that are open, and at tasks without a phase.
CREATE INDEX tasks_ready_without_phase_ix
    ON tasks (
        CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END,
        sort_order, created_at, id
    )
    WHERE status = 'pending' AND phase_id IS NULL;


-- A task that is no longer in progress has no open attempt, whatever statement changed it. The
-- attempt takes its time from the task's updated_at, which the statement has set. One that has the
-- name of an agent and no agent is of an agent that is being deleted: see below.
CREATE TRIGGER tasks_end_attempt_tg
AFTER UPDATE OF status ON tasks
WHEN OLD.status = 'in_progress' AND NEW.status <> 'in_progress'
BEGIN
    UPDATE task_attempts
    SET outcome = CASE
            WHEN NEW.status = 'completed' THEN 'completed'
            WHEN agent_id IS NULL AND agent_name IS NOT NULL THEN 'lost'
            ELSE 'released'
        END,
        detail = CASE
            WHEN NEW.status = 'completed' THEN NULL
            WHEN agent_id IS NULL AND agent_name IS NOT NULL THEN 'the agent was deleted'
        END,
        ended_at = NEW.updated_at,
        updated_at = CASE
            WHEN NEW.updated_at > updated_at THEN NEW.updated_at
            ELSE updated_at + 1
        END
    WHERE task_id = NEW.id
      AND outcome IS NULL;
END;

-- No task is in progress for an agent that is gone. BEFORE, because the foreign key is about to
-- forget who held it: the open attempt loses its agent here, which tells it from all others, and
-- ends when its task becomes pending. agents.delete has done this already, with the time of its
-- store's clock; here it is done for every other writer, with the time of SQLite's, which is exact
-- to the millisecond.
CREATE TRIGGER agents_lose_attempt_tg
BEFORE DELETE ON agents
WHEN EXISTS (SELECT 1 FROM task_attempts WHERE agent_id = OLD.id AND outcome IS NULL)
BEGIN
    UPDATE task_attempts
    SET agent_id = NULL
    WHERE agent_id = OLD.id
      AND outcome IS NULL;
    UPDATE tasks
    SET status = 'pending',
        updated_at = max(updated_at + 1, CAST(unixepoch('subsec') * 1000000 AS INTEGER))
    WHERE id IN (
            SELECT task_id
            FROM task_attempts
            WHERE outcome IS NULL
              AND agent_id IS NULL
              AND agent_name IS NOT NULL
          );
END;


INSERT INTO task_attempts (
    id, task_id, agent_id, agent_name, number, created_at, updated_at
)
SELECT
    substr(hex(randomblob(11)), 1, 21), task.id, agent.id, agent.name, 1,
    task.updated_at, task.updated_at
FROM tasks AS task
LEFT JOIN agents AS agent ON agent.id = (
        SELECT holder.id
        FROM agents AS holder
        WHERE holder.task_id = task.id
        ORDER BY
            CASE WHEN holder.status IN ('running', 'waiting_for_input') THEN 0 ELSE 1 END,
            holder.created_at DESC, holder.id DESC
        LIMIT 1
    )
WHERE task.status = 'in_progress';
