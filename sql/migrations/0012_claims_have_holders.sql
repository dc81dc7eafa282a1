-- Each claim of a task opens an attempt, and whoever reports on the task must hold it. A worker
-- that was killed is told from one that works, a late one cannot write over its successor's result,
-- and what a task went through can be read afterwards.
--
-- Tasks that are in progress already get an attempt: of the agent that has them (one that runs,
-- else the newest), or of nobody named. The ids of these begin with '-', so that they sort before
-- those that a claim gives, which rise.
--
-- A dispatcher that found nothing to claim asks again and again. `readiness` tells it cheaply that
-- nothing became ready since, whoever wrote what.
--
-- Code of older versions is not declared compatible: it would give back a task whose holder it does
-- not look for.

CREATE TABLE task_attempts (
    id           TEXT     NOT NULL,
    task_id      TEXT     NOT NULL  REFERENCES tasks (id) ON DELETE CASCADE,
    agent_id     TEXT     REFERENCES agents (id) ON DELETE SET NULL,  -- NULL: nobody named, or the
                                                                      -- agent is gone
    agent_name   TEXT,                                -- its name then; NULL: nobody named
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

-- Serves tasks.claim_next_ready where the first tasks in line are held back: it then looks at the
-- tasks of open phases, and at tasks without a phase.
CREATE INDEX tasks_ready_without_phase_ix
    ON tasks (initiative_id)
    WHERE status = 'pending' AND phase_id IS NULL;

-- Serves tasks.claim_next_ready likewise: the phases that are open, without reading the content of
-- those that are not.
CREATE INDEX phases_open_ix
    ON phases (initiative_id, id, status)
    WHERE status = 'approved' OR status = 'in_progress';


-- A task that is no longer in progress has no open attempt, whatever statement changed it. The
-- attempt takes its time from the task's updated_at, which the statement has set.
CREATE TRIGGER tasks_end_attempt_tg
AFTER UPDATE OF status ON tasks
WHEN OLD.status = 'in_progress' AND NEW.status <> 'in_progress'
BEGIN
    UPDATE task_attempts
    SET outcome = CASE NEW.status WHEN 'completed' THEN 'completed' ELSE 'released' END,
        ended_at = NEW.updated_at,
        updated_at = CASE
            WHEN NEW.updated_at > updated_at THEN NEW.updated_at
            ELSE updated_at + 1
        END
    WHERE task_id = NEW.id
      AND outcome IS NULL;
END;

-- No task is in progress for an agent that is gone. BEFORE, because the foreign key is about to
-- forget who held it. agents.delete has done this already, with the time of its store's clock; here
-- it is done for every other writer, with the time of SQLite's, which is exact to the millisecond.
CREATE TRIGGER agents_lose_attempt_tg
BEFORE DELETE ON agents
WHEN EXISTS (SELECT 1 FROM task_attempts WHERE agent_id = OLD.id AND outcome IS NULL)
BEGIN
    UPDATE task_attempts
    SET outcome = 'lost',
        detail = 'the agent was deleted',
        ended_at = CASE
            WHEN updated_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER)
            THEN CAST(unixepoch('subsec') * 1000000 AS INTEGER)
            ELSE updated_at + 1
        END,
        updated_at = CASE
            WHEN updated_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER)
            THEN CAST(unixepoch('subsec') * 1000000 AS INTEGER)
            ELSE updated_at + 1
        END
    WHERE agent_id = OLD.id
      AND outcome IS NULL;
    UPDATE tasks
    SET status = 'pending',
        updated_at = CASE
            WHEN updated_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER)
            THEN CAST(unixepoch('subsec') * 1000000 AS INTEGER)
            ELSE updated_at + 1
        END
    WHERE status = 'in_progress'
      AND id = (  -- of the attempt that ended just now: who is being deleted has one such
            SELECT task_id
            FROM task_attempts
            WHERE agent_id = OLD.id
              AND outcome = 'lost'
              AND detail = 'the agent was deleted'
          );
END;


-- How often something may have become ready, but for tasks that are new. All that is compared is
-- whether the number is another one. Written by the triggers below and by nobody else; without its
-- row dispatchers look at the tasks themselves.
CREATE TABLE readiness (
    id       INTEGER  NOT NULL  PRIMARY KEY,
    changes  INTEGER  NOT NULL,

    CONSTRAINT readiness_id_ck
        CHECK (id = 1)                     -- one row
) STRICT;

INSERT INTO readiness (id, changes)
VALUES (1, 0);

-- Tasks in the order in which they came: new ones are the last, and cost a create nothing. A number
-- comes back only after the last task was deleted.
CREATE VIEW task_arrivals AS
SELECT rowid AS number, id
FROM tasks;

CREATE TRIGGER tasks_readiness_delete_tg
AFTER DELETE ON tasks
WHEN NOT EXISTS (SELECT 1 FROM tasks WHERE rowid > OLD.rowid)
BEGIN
    UPDATE readiness SET changes = changes + 1 WHERE id = 1;
END;

-- Whether what waits for a completed task is ready now is left to the look: to find it out here
-- would double the cost of a change of status.
CREATE TRIGGER tasks_readiness_update_tg
AFTER UPDATE OF id, phase_id, initiative_id, type, category, status ON tasks
WHEN NEW.status = 'pending'
  OR NEW.status = 'completed'
 AND OLD.status <> 'completed'
 AND EXISTS (SELECT 1 FROM task_dependencies WHERE depends_on_task_id = NEW.id)
BEGIN
    UPDATE readiness SET changes = changes + 1 WHERE id = 1;
END;

CREATE TRIGGER task_dependencies_readiness_delete_tg
AFTER DELETE ON task_dependencies
WHEN EXISTS (SELECT 1 FROM tasks WHERE id = OLD.task_id AND status = 'pending')
BEGIN
    UPDATE readiness SET changes = changes + 1 WHERE id = 1;
END;

CREATE TRIGGER task_dependencies_readiness_update_tg
AFTER UPDATE ON task_dependencies
BEGIN
    UPDATE readiness SET changes = changes + 1 WHERE id = 1;
END;

CREATE TRIGGER phases_readiness_update_tg
AFTER UPDATE OF status ON phases
WHEN NEW.status = 'approved' OR NEW.status = 'in_progress' OR NEW.status = 'completed'
BEGIN
    UPDATE readiness SET changes = changes + 1 WHERE id = 1;
END;

CREATE TRIGGER phase_dependencies_readiness_delete_tg
AFTER DELETE ON phase_dependencies
BEGIN
    UPDATE readiness SET changes = changes + 1 WHERE id = 1;
END;

CREATE TRIGGER phase_dependencies_readiness_update_tg
AFTER UPDATE ON phase_dependencies
BEGIN
    UPDATE readiness SET changes = changes + 1 WHERE id = 1;
END;

CREATE TRIGGER initiatives_readiness_update_tg
AFTER UPDATE OF status ON initiatives
WHEN NEW.status = 'active'
BEGIN
    UPDATE readiness SET changes = changes + 1 WHERE id = 1;
END;


INSERT INTO task_attempts (
    id, task_id, agent_id, agent_name, number, created_at, updated_at
)
SELECT
    '-' || hex(randomblob(10)), task.id, agent.id, agent.name, 1,
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
