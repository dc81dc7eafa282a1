"""The SQL that every tool is given."""

#: Begins the scripts that rebuild a table, as SQLite's own recipe of 12 steps does.
FOREIGN_KEYS_OFF = "PRAGMA foreign_keys = OFF;\n"

PARENTS = """CREATE TABLE phases (
    id INTEGER PRIMARY KEY,
    parent_id INTEGER REFERENCES phases (id) ON DELETE CASCADE,
    name TEXT NOT NULL
);
CREATE INDEX phases_name_ix ON phases (name);
CREATE TRIGGER phases_tg AFTER UPDATE ON phases BEGIN SELECT 1; END;
CREATE VIEW named AS SELECT name FROM phases;
"""
CHILDREN = """CREATE TABLE tasks (
    id INTEGER PRIMARY KEY,
    phase_id INTEGER REFERENCES phases (id) ON DELETE CASCADE,
    owner TEXT NOT NULL DEFAULT 'nobody'
);
CREATE INDEX tasks_phase_ix ON tasks (phase_id);
INSERT INTO phases (id, parent_id, name) VALUES (1, NULL, 'build'), (2, 1, 'test'), (3, 2, 'ship');
INSERT INTO tasks (phase_id)
    WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n LIMIT 300)
    SELECT 1 + i % 3 FROM n;
"""
BASE = (PARENTS, CHILDREN)

FAILING = """CREATE TABLE extra (a);

INSERT INTO tasks (id)
VALUES (1);
"""
NEWER = "CREATE TABLE newer (a);\n"

REBUILD_PARENT = f"""{FOREIGN_KEYS_OFF}DROP VIEW named;
CREATE TABLE phases_new (
    id INTEGER PRIMARY KEY,
    parent_id INTEGER REFERENCES phases_new (id) ON DELETE CASCADE,
    name TEXT NOT NULL CHECK (name <> '')
);
INSERT INTO phases_new (id, parent_id, name) SELECT id, parent_id, name FROM phases;
DROP TABLE phases;
ALTER TABLE phases_new RENAME TO phases;
CREATE INDEX phases_name_ix ON phases (name);
CREATE TRIGGER phases_tg AFTER UPDATE ON phases BEGIN SELECT 1; END;
CREATE VIEW named AS SELECT name FROM phases;
"""
REBUILD_CHILDREN = f"""{FOREIGN_KEYS_OFF}CREATE TABLE tasks_new (
    id INTEGER PRIMARY KEY,
    phase_id INTEGER REFERENCES phases (id) ON DELETE CASCADE,
    owner TEXT
);
INSERT INTO tasks_new (id, phase_id, owner) SELECT id, phase_id, owner FROM tasks;
DROP TABLE tasks;
ALTER TABLE tasks_new RENAME TO tasks;
CREATE INDEX tasks_phase_ix ON tasks (phase_id);
"""
ORPHANS = "UPDATE tasks SET phase_id = 77 WHERE id = 1;\n"

TRIGGER = """CREATE TRIGGER told AFTER INSERT ON a WHEN NEW.b IS NOT NULL BEGIN
    -- a comment; with one; END;
    INSERT INTO log VALUES (CASE WHEN NEW.b = ';' THEN 'semi;END;' ELSE 'other' END);
    INSERT INTO log VALUES ('it''s; /* no comment */ END;');
END;
"""
WITH_TRIGGER = f"""CREATE TABLE a (b);
CREATE TABLE log (c);
{TRIGGER}INSERT INTO a VALUES (';');
"""

ROWS = "CREATE TABLE rows (id INTEGER PRIMARY KEY, note TEXT);\nINSERT INTO rows VALUES (1, 'a');\n"


def slow(number: int, rows: int) -> str:
    """A script of three statements that takes a while."""
    return f"""CREATE TABLE made{number} (id INTEGER PRIMARY KEY);
INSERT INTO rows (note)
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT {rows})
    SELECT 'text ' || i FROM n;
UPDATE rows SET note = note || '!';
"""
