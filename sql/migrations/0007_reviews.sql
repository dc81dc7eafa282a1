-- What a reviewer wrote on a line of a phase's diff.

CREATE TABLE review_comments (
    id           TEXT     NOT NULL  PRIMARY KEY,
    phase_id     TEXT     NOT NULL  REFERENCES phases (id) ON DELETE CASCADE,
    file_path    TEXT     NOT NULL,
    line_number  INTEGER  NOT NULL,
    line_type    TEXT     NOT NULL,
    body         TEXT     NOT NULL,
    author       TEXT     NOT NULL  DEFAULT 'you',
    resolved     INTEGER  NOT NULL  DEFAULT 0,
    created_at   INTEGER  NOT NULL,
    updated_at   INTEGER  NOT NULL,

    CONSTRAINT review_comments_id_ck
        CHECK (id <> ''),
    CONSTRAINT review_comments_line_number_ck
        CHECK (line_number >= 1),
    CONSTRAINT review_comments_line_type_ck
        CHECK (line_type IN ('added', 'removed', 'context')),
    CONSTRAINT review_comments_resolved_ck
        CHECK (resolved IN (0, 1))
) STRICT;

-- Serves review_comments.find_by_phase_id, in its order, and phases.delete.
CREATE INDEX review_comments_phase_ix
    ON review_comments (phase_id, file_path, line_number, created_at, id);
