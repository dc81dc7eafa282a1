-- An initiative is split into phases, and phases into tasks; both may depend on others of their
-- kind. A dependency reads "phase_id waits for depends_on_phase_id".
--
-- Which tasks are ready and which need approval is computed (the views of 0009), never stored.

CREATE TABLE phases (
    id             TEXT     NOT NULL  PRIMARY KEY,
    initiative_id  TEXT     NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    name           TEXT     NOT NULL,
    content        TEXT,                                   -- Tiptap JSON; NULL: nothing written
    status         TEXT     NOT NULL  DEFAULT 'pending',
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL,

    CONSTRAINT phases_id_ck
        CHECK (id <> ''),
    CONSTRAINT phases_name_ck
        CHECK (name <> ''),
    CONSTRAINT phases_content_ck
        CHECK (content IS NULL OR json_valid(content)),
    CONSTRAINT phases_status_ck
        CHECK (status IN ('pending', 'approved', 'in_progress', 'completed', 'blocked'))
) STRICT;

-- Serves phases.find_by_initiative_id, in its order, phases.topological_order and
-- initiatives.delete.
CREATE INDEX phases_initiative_ix
    ON phases (initiative_id, created_at, id);


CREATE TABLE phase_dependencies (
    phase_id             TEXT  NOT NULL  REFERENCES phases (id) ON DELETE CASCADE,
    depends_on_phase_id  TEXT  NOT NULL  REFERENCES phases (id) ON DELETE CASCADE,

    PRIMARY KEY (phase_id, depends_on_phase_id),
    CONSTRAINT phase_dependencies_itself_ck
        CHECK (phase_id <> depends_on_phase_id)
) STRICT, WITHOUT ROWID;

-- Serves phases.get_dependents, phases.delete and the cycle guard of phases.create_dependency.
CREATE INDEX phase_dependencies_depends_on_phase_ix
    ON phase_dependencies (depends_on_phase_id);


CREATE TABLE tasks (
    id                 TEXT     NOT NULL  PRIMARY KEY,
    phase_id           TEXT     REFERENCES phases (id) ON DELETE CASCADE,       -- NULL: no phase
    initiative_id      TEXT     REFERENCES initiatives (id) ON DELETE CASCADE,  -- NULL: of none
    parent_task_id     TEXT     REFERENCES tasks (id) ON DELETE SET NULL,       -- NULL: not a part
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


CREATE TABLE task_dependencies (
    task_id             TEXT  NOT NULL  REFERENCES tasks (id) ON DELETE CASCADE,
    depends_on_task_id  TEXT  NOT NULL  REFERENCES tasks (id) ON DELETE CASCADE,

    PRIMARY KEY (task_id, depends_on_task_id),
    CONSTRAINT task_dependencies_itself_ck
        CHECK (task_id <> depends_on_task_id)
) STRICT, WITHOUT ROWID;

-- Serves tasks.get_dependents, tasks.delete and the cycle guard of tasks.create_dependency.
CREATE INDEX task_dependencies_depends_on_task_ix
    ON task_dependencies (depends_on_task_id);
