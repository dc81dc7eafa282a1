-- An initiative is a piece of work that Codewalkers carries out; a project is a git repository
-- that it may touch.
--
-- For all tables, here and in the later scripts:
--   * ids are text made in Python; time is INTEGER, microseconds since 1970-01-01T00:00:00Z;
--   * booleans are 0 or 1; enums are text; JSON is text that json_valid() accepts;
--   * every CHECK is named <table>_<column>_ck, or after the shape that it holds if it concerns
--     several columns: an enum can be widened without a rebuild, and an error can name its field;
--   * every index says which repository methods it serves, every nullable column what NULL means.

CREATE TABLE initiatives (
    id                       TEXT     NOT NULL  PRIMARY KEY,
    name                     TEXT     NOT NULL,
    status                   TEXT     NOT NULL  DEFAULT 'active',
    merge_requires_approval  INTEGER  NOT NULL  DEFAULT 1,
    branch                   TEXT,                         -- NULL: no branch was made yet
    created_at               INTEGER  NOT NULL,
    updated_at               INTEGER  NOT NULL,

    CONSTRAINT initiatives_id_ck
        CHECK (id <> ''),
    CONSTRAINT initiatives_name_ck
        CHECK (name <> ''),
    CONSTRAINT initiatives_status_ck
        CHECK (status IN ('active', 'pending_review', 'completed', 'archived')),
    CONSTRAINT initiatives_merge_requires_approval_ck
        CHECK (merge_requires_approval IN (0, 1))
) STRICT;

-- Serves initiatives.find_by_status, in its order.
CREATE INDEX initiatives_status_ix
    ON initiatives (status, created_at, id);


-- A name and a url are compared byte for byte: the caller normalises them if he wants to.
CREATE TABLE projects (
    id               TEXT     NOT NULL  PRIMARY KEY,
    name             TEXT     NOT NULL  UNIQUE,            -- also the order of projects.find_all
    url              TEXT     NOT NULL  UNIQUE,
    default_branch   TEXT     NOT NULL  DEFAULT 'main',
    last_fetched_at  INTEGER,                              -- NULL: never fetched
    created_at       INTEGER  NOT NULL,
    updated_at       INTEGER  NOT NULL,

    CONSTRAINT projects_id_ck
        CHECK (id <> ''),
    CONSTRAINT projects_name_ck
        CHECK (name <> '')
) STRICT;


CREATE TABLE initiative_projects (
    initiative_id  TEXT  NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    project_id     TEXT  NOT NULL  REFERENCES projects (id) ON DELETE CASCADE,

    PRIMARY KEY (initiative_id, project_id)
) STRICT, WITHOUT ROWID;

-- Serves projects.delete: finds the pairs that go with the project.
CREATE INDEX initiative_projects_project_ix
    ON initiative_projects (project_id);
