-- compatible-with: 9
--
-- Deleting a task now deletes its subtasks too. Until now their parent_task_id became NULL: the
-- pieces of a deleted task silently turned into tasks of their own, ready to be claimed, and
-- agents worked on what nobody wanted any more.
--
-- SQLite cannot change the action of a foreign key in place, so the table is rebuilt: the new one
-- is filled under a name of its own, the old one dropped, the new one renamed. Foreign keys are
-- off meanwhile, so that no row which refers to a task is touched. Dropping the table takes its
-- indexes and triggers along, and the rename needs every view to resolve; all of them come back
-- below, word for word as they were. Nothing else changes.
--
-- Code of version 9 reads and writes on as before, its statements mean the same; only its
-- `delete` takes the subtasks along.

DROP VIEW ready_tasks;
DROP VIEW task_approvals;


CREATE TABLE tasks_rebuilt (
    id                 TEXT     NOT NULL  PRIMARY KEY,
    phase_id           TEXT     REFERENCES phases (id) ON DELETE CASCADE,       -- NULL: no phase
    initiative_id      TEXT     REFERENCES initiatives (id) ON DELETE CASCADE,  -- NULL: of none
    parent_task_id     TEXT     REFERENCES tasks (id) ON DELETE CASCADE,        -- NULL: not a part
    name               TEXT     NOT NULL,
    description        TEXT,                               -- NULL: the name says it all
    type               TEXT     NOT NULL  DEFAULT 'auto',
    category           TEXT     NOT NULL  DEFAULT 'execute',
    priority           TEXT     NOT NULL  DEFAULT 'medium',
    status             TEXT     NOT NULL  DEFAULT 'pending',
    requires_approval  INTEGER,                            -- NULL: as its initiative has it
    sort_order         INTEGER  NOT NULL  DEFAULT 0,
    summary            TEXT,                               -- the agent's result; NULL: none yet
    created_at         INTEGER  NOT NULL,
    updated_at         INTEGER  NOT NULL,

    CONSTRAINT tasks_id_ck
        CHECK (id <> ''),
    CONSTRAINT tasks_itself_ck
        CHECK (parent_task_id <> id),
    CONSTRAINT tasks_name_ck
        CHECK (name <> ''),
    CONSTRAINT tasks_type_ck
        CHECK (type IN (
            'auto', 'checkpoint:human-verify', 'checkpoint:decision', 'checkpoint:human-action'
        )),
    CONSTRAINT tasks_category_ck
        CHECK (category IN (
            'execute', 'research', 'discuss', 'plan', 'detail', 'verify', 'merge', 'review'
        )),
    CONSTRAINT tasks_priority_ck
        CHECK (priority IN ('low', 'medium', 'high')),
    CONSTRAINT tasks_status_ck
        CHECK (status IN ('pending_approval', 'pending', 'in_progress', 'completed', 'blocked')),
    CONSTRAINT tasks_requires_approval_ck
        CHECK (requires_approval IN (0, 1))
) STRICT;

INSERT INTO tasks_rebuilt (
    id, phase_id, initiative_id, parent_task_id, name, description, type, category, priority,
    status, requires_approval, sort_order, summary, created_at, updated_at
)
SELECT
    id, phase_id, initiative_id, parent_task_id, name, description, type, category, priority,
    status, requires_approval, sort_order, summary, created_at, updated_at
FROM tasks;

DROP TABLE tasks;

ALTER TABLE tasks_rebuilt RENAME TO tasks;


-- Serves tasks.find_by_phase_id, in its order, tasks.topological_order and phases.delete.
CREATE INDEX tasks_phase_ix
    ON tasks (phase_id, sort_order, created_at, id)
    WHERE phase_id IS NOT NULL;

-- Serves tasks.find_by_initiative_id, in its order, tasks.topological_order and
-- initiatives.delete.
CREATE INDEX tasks_initiative_ix
    ON tasks (initiative_id, sort_order, created_at, id)
    WHERE initiative_id IS NOT NULL;

-- Serves tasks.find_by_parent_task_id, in its order, tasks.delete and the guard against cycles.
CREATE INDEX tasks_parent_task_ix
    ON tasks (parent_task_id, sort_order, created_at, id)
    WHERE parent_task_id IS NOT NULL;

-- Serves tasks.find_pending_approval, in its order.
CREATE INDEX tasks_pending_approval_ix
    ON tasks (created_at, id)
    WHERE status = 'pending_approval';

-- Serves tasks.find_ready and tasks.claim_next_ready without an initiative, in their order.
CREATE INDEX tasks_ready_ix
    ON tasks (
        CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END,
        sort_order, created_at, id
    )
    WHERE status = 'pending';

-- Serves tasks.find_ready and tasks.claim_next_ready of an initiative, in their order.
CREATE INDEX tasks_ready_of_initiative_ix
    ON tasks (
        initiative_id,
        CASE priority WHEN 'high' THEN 0 WHEN 'medium' THEN 1 ELSE 2 END,
        sort_order, created_at, id
    )
    WHERE status = 'pending';


CREATE TRIGGER tasks_delete_chat_sessions_tg
AFTER DELETE ON tasks
BEGIN
    DELETE FROM chat_sessions
    WHERE target_type = 'task' AND target_id = OLD.id;
END;

CREATE TRIGGER tasks_no_cycle_insert_tg
AFTER INSERT ON tasks
WHEN NEW.parent_task_id IS NOT NULL
 AND EXISTS (SELECT 1 FROM tasks WHERE parent_task_id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'cycle: tasks.parent_task_id')
    WHERE EXISTS (
        WITH RECURSIVE above (id) AS (
            SELECT NEW.parent_task_id
            UNION
            SELECT task.parent_task_id
            FROM above
            JOIN tasks AS task ON task.id = above.id
            WHERE task.parent_task_id IS NOT NULL
        )
        SELECT 1 FROM above WHERE id = NEW.id
    );
END;

CREATE TRIGGER tasks_no_cycle_update_tg
AFTER UPDATE OF id, parent_task_id ON tasks
WHEN NEW.parent_task_id IS NOT NULL
 AND EXISTS (SELECT 1 FROM tasks WHERE parent_task_id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'cycle: tasks.parent_task_id')
    WHERE EXISTS (
        WITH RECURSIVE above (id) AS (
            SELECT NEW.parent_task_id
            UNION
            SELECT task.parent_task_id
            FROM above
            JOIN tasks AS task ON task.id = above.id
            WHERE task.parent_task_id IS NOT NULL
        )
        SELECT 1 FROM above WHERE id = NEW.id
    );
END;


-- A task is ready when it is pending, all that it depends on is completed, its initiative (if any)
-- is active, its phase (if any) is approved or in progress, and every phase which that one depends
-- on is completed. Parents and children gate nothing.
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
      )
  AND NOT EXISTS (
        SELECT 1
        FROM phases AS phase
        WHERE phase.id = task.phase_id
          AND phase.status NOT IN ('approved', 'in_progress')
      )
  AND NOT EXISTS (
        SELECT 1
        FROM phase_dependencies AS edge
        JOIN phases AS needed ON needed.id = edge.depends_on_phase_id
        WHERE edge.phase_id = task.phase_id
          AND needed.status <> 'completed'
      )
  AND NOT EXISTS (
        SELECT 1
        FROM task_dependencies AS edge
        JOIN tasks AS needed ON needed.id = edge.depends_on_task_id
        WHERE edge.task_id = task.id
          AND needed.status <> 'completed'
      );


-- Whether the result of a task needs approval: as the task says, else its initiative, else yes.
CREATE VIEW task_approvals AS
SELECT
    task.id AS task_id,
    coalesce(task.requires_approval, initiative.merge_requires_approval, 1) AS requires_approval
FROM tasks AS task
LEFT JOIN initiatives AS initiative ON initiative.id = task.initiative_id;
