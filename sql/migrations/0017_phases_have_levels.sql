-- compatible-with: 16
--
-- Plans of thousands of phases whose edges come in any order; and agents that another program
-- replaces.
--
-- No row is changed: what is new here is kept by triggers alone, so older code keeps it, too.


-- Phases have levels, as tasks have (0016 tells how): none is lower than a phase that it depends
-- on, and an edge to a phase of a lower level closes no cycle. Until now the guard walked, for each
-- new edge, everything that waits for its phase: 9,750 edges between 2,000 phases, in random order,
-- took 5.7 s.
--
-- All begin at 0, and those at 0 have no row here. Written by the triggers below and by nobody
-- else.
CREATE TABLE phase_levels (
    phase_id  TEXT     NOT NULL  REFERENCES phases (id) ON DELETE CASCADE,
    level     INTEGER  NOT NULL,

    PRIMARY KEY (phase_id),
    CONSTRAINT phase_levels_level_ck
        CHECK (level >= 1)
) STRICT, WITHOUT ROWID;

-- A level that somebody lowers or removes would let a cycle through.
CREATE TRIGGER phase_levels_only_rise_tg
BEFORE UPDATE ON phase_levels
WHEN NEW.phase_id <> OLD.phase_id OR NEW.level < OLD.level
BEGIN
    SELECT RAISE(ABORT, 'phase_levels: a level is lifted and never lowered');
END;

CREATE TRIGGER phase_levels_stay_tg
BEFORE DELETE ON phase_levels
WHEN EXISTS (SELECT 1 FROM phases WHERE id = OLD.phase_id)
BEGIN
    SELECT RAISE(ABORT, 'phase_levels: a level goes with its phase only');
END;


-- Nothing waits for itself. Nothing is walked where one end of the edge has no other edges on the
-- side that matters and the levels are right.

DROP TRIGGER phase_dependencies_no_cycle_insert_tg;
DROP TRIGGER phase_dependencies_no_cycle_update_tg;

CREATE TRIGGER phase_dependencies_no_cycle_insert_tg
AFTER INSERT ON phase_dependencies
WHEN (
        EXISTS (SELECT 1 FROM phase_dependencies WHERE depends_on_phase_id = NEW.phase_id)
    AND EXISTS (SELECT 1 FROM phase_dependencies WHERE phase_id = NEW.depends_on_phase_id)
    AND coalesce((SELECT level FROM phase_levels WHERE phase_id = NEW.phase_id), 0)
     <= coalesce((SELECT level FROM phase_levels WHERE phase_id = NEW.depends_on_phase_id), 0)
 )
 OR EXISTS (
        SELECT 1
        FROM phase_levels
        WHERE phase_id = NEW.depends_on_phase_id
          AND level > coalesce((SELECT level FROM phase_levels WHERE phase_id = NEW.phase_id), 0)
    )
BEGIN
    INSERT INTO phase_edges_in_doubt (phase_id, depends_on_phase_id)
    VALUES (NEW.phase_id, NEW.depends_on_phase_id);
END;

CREATE TRIGGER phase_dependencies_no_cycle_update_tg
AFTER UPDATE OF phase_id, depends_on_phase_id ON phase_dependencies
WHEN (
        EXISTS (SELECT 1 FROM phase_dependencies WHERE depends_on_phase_id = NEW.phase_id)
    AND EXISTS (SELECT 1 FROM phase_dependencies WHERE phase_id = NEW.depends_on_phase_id)
    AND coalesce((SELECT level FROM phase_levels WHERE phase_id = NEW.phase_id), 0)
     <= coalesce((SELECT level FROM phase_levels WHERE phase_id = NEW.depends_on_phase_id), 0)
 )
 OR EXISTS (
        SELECT 1
        FROM phase_levels
        WHERE phase_id = NEW.depends_on_phase_id
          AND level > coalesce((SELECT level FROM phase_levels WHERE phase_id = NEW.phase_id), 0)
    )
BEGIN
    INSERT INTO phase_edges_in_doubt (phase_id, depends_on_phase_id)
    VALUES (NEW.phase_id, NEW.depends_on_phase_id);
END;

-- Takes an edge that was written and may close a cycle; has no rows.
CREATE VIEW phase_edges_in_doubt AS
SELECT phase_id, depends_on_phase_id
FROM phase_dependencies
WHERE 1 = 0;

-- As that of tasks: the first statement lifts, the second one looks for the cycle.
CREATE TRIGGER phase_edges_in_doubt_no_cycle_tg
INSTEAD OF INSERT ON phase_edges_in_doubt
BEGIN
    INSERT INTO phase_levels (phase_id, level)
    SELECT id, level
    FROM (
        WITH RECURSIVE
        start (level) AS (
            SELECT coalesce(
                (SELECT level FROM phase_levels WHERE phase_id = NEW.depends_on_phase_id), 0
            )
        ),
        needed (id) AS (
            SELECT NEW.depends_on_phase_id
            UNION
            SELECT edge.depends_on_phase_id
            FROM needed
            JOIN phase_dependencies AS edge ON edge.phase_id = needed.id
            WHERE coalesce(
                (SELECT level FROM phase_levels WHERE phase_id = edge.depends_on_phase_id), 0
            ) = (SELECT level FROM start)
            LIMIT 64
        ),
        goal (level) AS MATERIALIZED (
            SELECT level + ((SELECT count(*) FROM needed) = 64) FROM start
        ),
        waiting (id, level) AS (
            SELECT NEW.phase_id, level
            FROM goal
            WHERE coalesce(
                (SELECT level FROM phase_levels WHERE phase_id = NEW.phase_id), 0
            ) < level
            UNION
            SELECT edge.phase_id, waiting.level
            FROM waiting
            JOIN phase_dependencies AS edge ON edge.depends_on_phase_id = waiting.id
            WHERE coalesce(
                (SELECT level FROM phase_levels WHERE phase_id = edge.phase_id), 0
            ) < waiting.level
        )
        SELECT id, level FROM waiting
    )
    WHERE 1 = 1
    ON CONFLICT (phase_id) DO UPDATE SET level = excluded.level;

    SELECT RAISE(ABORT, 'cycle: phase_dependencies')
    WHERE coalesce((SELECT level FROM phase_levels WHERE phase_id = NEW.phase_id), 0)
       <= coalesce((SELECT level FROM phase_levels WHERE phase_id = NEW.depends_on_phase_id), 0)
      AND EXISTS (
        WITH RECURSIVE
        start (level) AS (
            SELECT coalesce(
                (SELECT level FROM phase_levels WHERE phase_id = NEW.depends_on_phase_id), 0
            )
        ),
        needed (id) AS (
            SELECT NEW.depends_on_phase_id
            UNION
            SELECT edge.depends_on_phase_id
            FROM needed
            JOIN phase_dependencies AS edge ON edge.phase_id = needed.id
            WHERE coalesce(
                (SELECT level FROM phase_levels WHERE phase_id = edge.depends_on_phase_id), 0
            ) = (SELECT level FROM start)
        )
        SELECT 1 FROM needed WHERE id = NEW.phase_id
    );
END;


-- An `INSERT OR REPLACE` of another program deletes an agent of the same name, and no trigger on
-- agents sees it, unless recursive_triggers is on. The foreign key does, and forgets who held the
-- attempt.
CREATE TRIGGER task_attempts_lose_agent_tg
AFTER UPDATE OF agent_id ON task_attempts
WHEN NEW.agent_id IS NULL
 AND NEW.outcome IS NULL
 AND OLD.agent_id IS NOT NULL
 AND NOT EXISTS (SELECT 1 FROM agents WHERE id = OLD.agent_id)
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
    WHERE id = NEW.id;
    UPDATE tasks
    SET status = 'pending',
        updated_at = CASE
            WHEN updated_at < CAST(unixepoch('subsec') * 1000000 AS INTEGER)
            THEN CAST(unixepoch('subsec') * 1000000 AS INTEGER)
            ELSE updated_at + 1
        END
    WHERE id = NEW.task_id
      AND status = 'in_progress';
END;
