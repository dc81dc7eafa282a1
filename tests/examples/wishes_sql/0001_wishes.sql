CREATE TABLE wishes (
    id          TEXT     NOT NULL  PRIMARY KEY,
    wisher      TEXT     NOT NULL,
    text        TEXT     NOT NULL,
    status      TEXT     NOT NULL,
    details     TEXT,  -- JSON; NULL: none were given
    created_at  INTEGER  NOT NULL,
    updated_at  INTEGER  NOT NULL,
    CONSTRAINT wishes_wisher_ck CHECK (wisher <> ''),
    CONSTRAINT wishes_text_ck CHECK (text <> ''),
    CONSTRAINT wishes_status_ck CHECK (status = 'open' OR status = 'granted'),
    CONSTRAINT wishes_details_ck CHECK (details IS NULL OR json_valid(details))
) STRICT;

-- find_by_wisher
CREATE INDEX wishes_wisher_ix
ON wishes (wisher, created_at, id);

-- iter_all
CREATE INDEX wishes_created_ix
ON wishes (created_at, id);
