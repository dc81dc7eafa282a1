-- The rules that hold for every reader and writer, in any language: what "ready" and "needs
-- approval" mean, and that nothing waits for itself or contains itself.


-- A task is ready when it is pending, all that it depends on is completed, its initiative (if any)
-- is active, its phase (if any) is approved or in progress, and every phase which that one depends
-- on is completed. Parents and children gate nothing. What many tasks share is asked first: the few
-- initiatives and phases are at hand, the edges of a task lie anywhere, and with 100,000 tasks a
-- claim costs a third of what it costs the other way round.
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


-- Nothing waits for itself.
--
-- A new edge can close a cycle only if its end has edges of its own. The WHEN clauses ask that
-- first, so that a plan which grows from its end is not walked; the walk itself starts at the
-- edge's start and goes to what waits for it, so that a plan which grows from its beginning costs
-- nothing either. It ends at the first sight of the edge's end. UNION visits a row once: it ends
-- even among cycles that somebody stored with the triggers off.
--
-- All guards look AFTER the row was written: an edge that is turned round does not meet its own
-- past, and of the rows that one statement writes the last sees all others.

CREATE TRIGGER phase_dependencies_no_cycle_insert_tg
AFTER INSERT ON phase_dependencies
WHEN EXISTS (SELECT 1 FROM phase_dependencies WHERE phase_id = NEW.depends_on_phase_id)
BEGIN
    SELECT RAISE(ABORT, 'cycle: phase_dependencies')
    WHERE EXISTS (
        WITH RECURSIVE waiting (id) AS (
            SELECT NEW.phase_id
            UNION
            SELECT edge.phase_id
            FROM waiting
            JOIN phase_dependencies AS edge ON edge.depends_on_phase_id = waiting.id
        )
        SELECT 1 FROM waiting WHERE id = NEW.depends_on_phase_id
    );
END;

CREATE TRIGGER phase_dependencies_no_cycle_update_tg
AFTER UPDATE OF phase_id, depends_on_phase_id ON phase_dependencies
WHEN EXISTS (SELECT 1 FROM phase_dependencies WHERE phase_id = NEW.depends_on_phase_id)
BEGIN
    SELECT RAISE(ABORT, 'cycle: phase_dependencies')
    WHERE EXISTS (
        WITH RECURSIVE waiting (id) AS (
            SELECT NEW.phase_id
            UNION
            SELECT edge.phase_id
            FROM waiting
            JOIN phase_dependencies AS edge ON edge.depends_on_phase_id = waiting.id
        )
        SELECT 1 FROM waiting WHERE id = NEW.depends_on_phase_id
    );
END;

CREATE TRIGGER task_dependencies_no_cycle_insert_tg
AFTER INSERT ON task_dependencies
WHEN EXISTS (SELECT 1 FROM task_dependencies WHERE task_id = NEW.depends_on_task_id)
BEGIN
    SELECT RAISE(ABORT, 'cycle: task_dependencies')
    WHERE EXISTS (
        WITH RECURSIVE waiting (id) AS (
            SELECT NEW.task_id
            UNION
            SELECT edge.task_id
            FROM waiting
            JOIN task_dependencies AS edge ON edge.depends_on_task_id = waiting.id
        )
        SELECT 1 FROM waiting WHERE id = NEW.depends_on_task_id
    );
END;

CREATE TRIGGER task_dependencies_no_cycle_update_tg
AFTER UPDATE OF task_id, depends_on_task_id ON task_dependencies
WHEN EXISTS (SELECT 1 FROM task_dependencies WHERE task_id = NEW.depends_on_task_id)
BEGIN
    SELECT RAISE(ABORT, 'cycle: task_dependencies')
    WHERE EXISTS (
        WITH RECURSIVE waiting (id) AS (
            SELECT NEW.task_id
            UNION
            SELECT edge.task_id
            FROM waiting
            JOIN task_dependencies AS edge ON edge.depends_on_task_id = waiting.id
        )
        SELECT 1 FROM waiting WHERE id = NEW.depends_on_task_id
    );
END;


-- Nothing contains itself.
--
-- A row can close a cycle only if it has children already; without a parent or without children
-- nothing is walked. Else the walk goes up from the parent, and ends at the first sight of the row.

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

CREATE TRIGGER pages_no_cycle_insert_tg
AFTER INSERT ON pages
WHEN NEW.parent_page_id IS NOT NULL
 AND EXISTS (SELECT 1 FROM pages WHERE parent_page_id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'cycle: pages.parent_page_id')
    WHERE EXISTS (
        WITH RECURSIVE above (id) AS (
            SELECT NEW.parent_page_id
            UNION
            SELECT page.parent_page_id
            FROM above
            JOIN pages AS page ON page.id = above.id
            WHERE page.parent_page_id IS NOT NULL
        )
        SELECT 1 FROM above WHERE id = NEW.id
    );
END;

CREATE TRIGGER pages_no_cycle_update_tg
AFTER UPDATE OF id, parent_page_id ON pages
WHEN NEW.parent_page_id IS NOT NULL
 AND EXISTS (SELECT 1 FROM pages WHERE parent_page_id = NEW.id)
BEGIN
    SELECT RAISE(ABORT, 'cycle: pages.parent_page_id')
    WHERE EXISTS (
        WITH RECURSIVE above (id) AS (
            SELECT NEW.parent_page_id
            UNION
            SELECT page.parent_page_id
            FROM above
            JOIN pages AS page ON page.id = above.id
            WHERE page.parent_page_id IS NOT NULL
        )
        SELECT 1 FROM above WHERE id = NEW.id
    );
END;
