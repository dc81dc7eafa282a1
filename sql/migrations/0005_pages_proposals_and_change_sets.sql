-- The pages of an initiative form a tree that people and agents edit. A proposal is a change that
-- an agent suggests; a change set is one that was made, entry by entry, so that it can be reverted.

CREATE TABLE pages (
    id              TEXT     NOT NULL  PRIMARY KEY,
    initiative_id   TEXT     NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    parent_page_id  TEXT     REFERENCES pages (id) ON DELETE CASCADE,  -- NULL: the root page
    title           TEXT     NOT NULL,
    content         TEXT,                                  -- Tiptap JSON; NULL: nothing written
    sort_order      INTEGER  NOT NULL  DEFAULT 0,
    created_at      INTEGER  NOT NULL,
    updated_at      INTEGER  NOT NULL,

    CONSTRAINT pages_id_ck
        CHECK (id <> ''),
    CONSTRAINT pages_itself_ck
        CHECK (parent_page_id <> id),
    CONSTRAINT pages_content_ck
        CHECK (content IS NULL OR json_valid(content))
) STRICT;

-- One root page per initiative. Serves pages.find_root_page and pages.get_or_create_root_page.
CREATE UNIQUE INDEX pages_root_ix
    ON pages (initiative_id)
    WHERE parent_page_id IS NULL;

-- Serves pages.find_by_initiative_id, in its order, and initiatives.delete.
CREATE INDEX pages_initiative_ix
    ON pages (initiative_id, sort_order, created_at, id);

-- Serves pages.find_by_parent_page_id, in its order, pages.delete and the guard against cycles.
CREATE INDEX pages_parent_page_ix
    ON pages (parent_page_id, sort_order, created_at, id)
    WHERE parent_page_id IS NOT NULL;


-- The target has no foreign key: a proposal is history and outlives it.
CREATE TABLE proposals (
    id             TEXT     NOT NULL  PRIMARY KEY,
    agent_id       TEXT     NOT NULL  REFERENCES agents (id) ON DELETE CASCADE,
    initiative_id  TEXT     NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    target_type    TEXT     NOT NULL,
    target_id      TEXT,                                   -- NULL: the target is to be created
    title          TEXT     NOT NULL,
    summary        TEXT,                                   -- NULL: the title says it all
    content        TEXT,                                   -- markdown; NULL: no text proposed
    metadata       TEXT,                                   -- JSON; NULL: none
    status         TEXT     NOT NULL  DEFAULT 'pending',
    sort_order     INTEGER  NOT NULL  DEFAULT 0,
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL,

    CONSTRAINT proposals_id_ck
        CHECK (id <> ''),
    CONSTRAINT proposals_target_type_ck
        CHECK (target_type IN ('page', 'phase', 'task')),
    CONSTRAINT proposals_target_id_ck
        CHECK (target_id <> ''),
    CONSTRAINT proposals_metadata_ck
        CHECK (metadata IS NULL OR json_valid(metadata)),
    CONSTRAINT proposals_status_ck
        CHECK (status IN ('pending', 'accepted', 'dismissed'))
) STRICT;

-- Serves proposals.find_by_agent_id and proposals.find_by_agent_id_and_status, in their order,
-- proposals.count_by_agent_id_and_status, proposals.update_many_by_agent_id and agents.delete.
-- The status is no part of it: an agent makes few proposals, so they are looked through.
CREATE INDEX proposals_agent_ix
    ON proposals (agent_id, sort_order, created_at, id);

-- Serves proposals.find_by_initiative_id, in its order, and initiatives.delete.
CREATE INDEX proposals_initiative_ix
    ON proposals (initiative_id, sort_order, created_at, id);


CREATE TABLE change_sets (
    id             TEXT     NOT NULL  PRIMARY KEY,
    initiative_id  TEXT     NOT NULL  REFERENCES initiatives (id) ON DELETE CASCADE,
    agent_id       TEXT     REFERENCES agents (id) ON DELETE SET NULL,  -- NULL: the user, or a
                                                                        -- deleted agent
    agent_name     TEXT,                                   -- as it was then; NULL: the user
    summary        TEXT,                                   -- NULL: the entries speak for themselves
    status         TEXT     NOT NULL  DEFAULT 'applied',
    created_at     INTEGER  NOT NULL,
    updated_at     INTEGER  NOT NULL,

    CONSTRAINT change_sets_id_ck
        CHECK (id <> ''),
    CONSTRAINT change_sets_agent_name_ck
        CHECK (agent_name <> ''),
    CONSTRAINT change_sets_status_ck
        CHECK (status IN ('applied', 'reverted'))
) STRICT;

-- Serves change_sets.find_by_initiative_id, in its order, and initiatives.delete.
CREATE INDEX change_sets_initiative_ix
    ON change_sets (initiative_id, created_at, id);

-- Serves agents.delete: finds the change sets that lose their agent.
CREATE INDEX change_sets_agent_ix
    ON change_sets (agent_id)
    WHERE agent_id IS NOT NULL;


-- The entity has no foreign key: an entry is history and outlives it.
CREATE TABLE change_set_entries (
    id              TEXT     NOT NULL  PRIMARY KEY,
    change_set_id   TEXT     NOT NULL  REFERENCES change_sets (id) ON DELETE CASCADE,
    entity_type     TEXT     NOT NULL,
    entity_id       TEXT     NOT NULL,
    action          TEXT     NOT NULL,
    previous_state  TEXT,                                  -- JSON; NULL: a create, there was none
    new_state       TEXT,                                  -- JSON; NULL: a delete, there is none
    sort_order      INTEGER  NOT NULL  DEFAULT 0,
    created_at      INTEGER  NOT NULL,

    CONSTRAINT change_set_entries_id_ck
        CHECK (id <> ''),
    CONSTRAINT change_set_entries_entity_type_ck
        CHECK (entity_type IN ('page', 'phase', 'task', 'phase_dependency', 'task_dependency')),
    CONSTRAINT change_set_entries_entity_id_ck
        CHECK (entity_id <> ''),
    CONSTRAINT change_set_entries_action_ck
        CHECK (action IN ('create', 'update', 'delete')),
    CONSTRAINT change_set_entries_previous_state_ck
        CHECK (previous_state IS NULL OR json_valid(previous_state)),
    CONSTRAINT change_set_entries_new_state_ck
        CHECK (new_state IS NULL OR json_valid(new_state)),
    -- A create, and nothing else, has no previous state; a delete, and nothing else, no new one.
    CONSTRAINT change_set_entries_states_ck
        CHECK ((action = 'create') = (previous_state IS NULL)
           AND (action = 'delete') = (new_state IS NULL))
) STRICT;

-- Serves change_sets.find_entries, in its order.
CREATE INDEX change_set_entries_change_set_ix
    ON change_set_entries (change_set_id, sort_order, created_at, id);
