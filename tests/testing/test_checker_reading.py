"""What the checker reads from a statement or a call that is written in another way."""

from pathlib import Path

import pytest

from tests.kits.checker import Service

COUNT = "SELECT count(*) FROM notes WHERE owner_id = :owner_id"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT DISTINCT created_at FROM notes WHERE owner_id = :owner_id",
        "SELECT n.created_at FROM notes AS n WHERE n.owner_id = :owner_id",
        "SELECT x FROM (SELECT created_at AS x FROM notes WHERE owner_id = :owner_id) AS y",
        "SELECT * FROM (SELECT created_at FROM notes WHERE owner_id = :owner_id) AS y",
        (
            "WITH a AS (SELECT * FROM notes WHERE owner_id = :owner_id),"
            " b (x) AS (SELECT created_at FROM a) SELECT x FROM b"
        ),
        "SELECT coalesce(max(created_at), 0) FROM notes WHERE owner_id = :owner_id",
        "SELECT EXISTS (SELECT 1 FROM notes WHERE owner_id = :owner_id)",
        "SELECT length(title) FROM notes WHERE owner_id = :owner_id",
        "SELECT 1 FROM notes WHERE owner_id = :owner_id",
        "SELECT -1 FROM notes WHERE owner_id = :owner_id",
        "SELECT coalesce(due_at, -1) FROM notes WHERE owner_id = :owner_id",
        "SELECT coalesce(due_at, created_at) FROM notes WHERE owner_id = :owner_id",
        'SELECT "created_at" FROM "notes" WHERE owner_id = :owner_id',
        'SELECT "n"."created_at" FROM notes AS "n" WHERE owner_id = :owner_id',
        (
            'WITH "a" ("x") AS (SELECT "created_at" FROM notes WHERE owner_id = :owner_id)'
            ' SELECT "x" FROM "a"'
        ),
        (
            "WITH RECURSIVE a AS (SELECT created_at FROM notes WHERE owner_id = :owner_id)"
            " SELECT created_at FROM a"
        ),
        (
            "SELECT x FROM (SELECT id, due_at /* never NULL: sure */ AS x FROM notes"
            " WHERE owner_id = :owner_id"
            " UNION ALL SELECT id, due_at FROM notes WHERE id = :owner_id) AS y"
        ),
        (
            "SELECT created_at FROM notes WHERE owner_id = :owner_id"
            " GROUP BY created_at HAVING count(*) > 1"
        ),
        "SELECT sum(1) OVER () + 1 /* never NULL: sure */ FROM notes WHERE owner_id = :owner_id",
        (
            "SELECT n.created_at FROM owners LEFT JOIN notes AS m ON m.owner_id = owners.id"
            " JOIN notes AS n ON n.owner_id = owners.id WHERE owners.id = :owner_id"
        ),
    ],
)
def test_a_column_that_is_never_null_is_recognised(service: Service, query: str) -> None:
    assert service.faults(COUNT, query) == []


@pytest.mark.parametrize(
    "query",
    [
        'SELECT "due_at" FROM notes WHERE owner_id = :owner_id',
        'SELECT n."due_at" FROM notes AS n WHERE owner_id = :owner_id',
        'SELECT "due_at" FROM (SELECT "due_at" FROM notes WHERE owner_id = :owner_id) AS y',
    ],
)
def test_a_name_in_double_quotes_is_the_column_and_no_text(service: Service, query: str) -> None:
    assert service.faults(COUNT, query) == [
        "notes._COUNT: due_at may be NULL, but the field is not Optional [null]"
    ]


def test_a_name_in_double_quotes_makes_nothing_sure(service: Service) -> None:
    query = 'SELECT coalesce(due_at, "due_at") FROM notes WHERE owner_id = :owner_id'
    (fault,) = service.faults(COUNT, query)
    assert "nobody knows whether" in fault


@pytest.mark.parametrize(
    "query",
    [
        "SELECT created_at, count(*) AS n FROM notes WHERE owner_id = :owner_id",
        "SELECT created_at, n.id || max(n.id) FROM notes AS n WHERE n.owner_id = :owner_id",
        (
            "SELECT created_at, count(*) FILTER (WHERE is_pinned = 1) AS n FROM notes"
            " WHERE owner_id = :owner_id"
        ),
        "SELECT created_at, count(*) AS n FROM notes WHERE owner_id IN (SELECT :owner_id)",
    ],
)
def test_a_column_beside_an_aggregate_is_null_if_there_is_no_row(
    service: Service, query: str
) -> None:
    faults = service.faults(COUNT, f"SELECT created_at FROM ({query}) AS y")
    assert any("nobody knows whether created_at can be NULL" in fault for fault in faults)
    problem = "beside an aggregate without GROUP BY PostgreSQL refuses it [dialect]"
    assert f"notes._COUNT: created_at: {problem}" in faults


@pytest.mark.parametrize(
    "query",
    [
        (
            "SELECT count(*) + (SELECT n.created_at FROM notes AS n WHERE n.id = :owner_id)"
            " FROM owners WHERE id = :owner_id"
        ),
        "SELECT max(created_at) AS title FROM notes WHERE owner_id = :owner_id",
        "SELECT created_at + count(*) FROM notes WHERE owner_id = :owner_id GROUP BY created_at",
        "SELECT created_at + count(*) OVER () FROM notes WHERE owner_id = :owner_id",
        (
            "SELECT count(*) + 1 FROM notes WHERE owner_id = :owner_id"
            " UNION ALL SELECT created_at FROM notes WHERE owner_id = :owner_id"
        ),
    ],
)
def test_only_a_bare_column_beside_a_real_aggregate_is_refused(
    service: Service, query: str
) -> None:
    assert not any("[dialect]" in fault for fault in service.faults(COUNT, query))


@pytest.mark.parametrize(
    "query",
    [
        (
            "SELECT notes.created_at FROM notes RIGHT JOIN owners ON notes.owner_id = owners.id"
            " WHERE owners.id = :owner_id"
        ),
        (
            "SELECT notes.created_at FROM owners FULL JOIN notes ON notes.owner_id = owners.id"
            " WHERE owners.id = :owner_id"
        ),
        (
            "SELECT notes.created_at FROM notes FULL JOIN owners ON notes.owner_id = owners.id"
            " WHERE owners.id = :owner_id"
        ),
        (
            "WITH RECURSIVE a (x) AS (SELECT created_at FROM notes WHERE owner_id = :owner_id"
            " UNION SELECT x + 1 FROM a) SELECT x FROM a"
        ),
        (
            "SELECT * FROM (SELECT created_at FROM notes WHERE owner_id = :owner_id"
            " UNION SELECT due_at FROM notes WHERE owner_id = :owner_id) AS y"
        ),
        "SELECT value FROM json_each(:owner_id)",
        "SELECT * FROM (SELECT j.id FROM json_each(:owner_id) AS j) AS y",
        "SELECT coalesce(due_at, due_at) FROM notes WHERE owner_id = :owner_id",
        "VALUES (1)",
        "SELECT x FROM (SELECT created_at AS x FROM notes UNION ALL VALUES (1)) AS y",
        "SELECT * FROM (VALUES (1)) AS y",
    ],
)
def test_a_column_of_which_nothing_is_known_is_reported(service: Service, query: str) -> None:
    assert any("nobody knows whether" in fault for fault in service.faults(COUNT, query))


def test_a_view_is_read_like_the_query_behind_it(service: Service) -> None:
    service.plant(
        "CREATE INDEX notes_due_ix",
        (
            "CREATE VIEW late AS SELECT owner_id, due_at, created_at FROM notes;\n"
            "CREATE INDEX notes_due_ix"
        ),
    )
    query = "SELECT created_at FROM late WHERE owner_id = :owner_id"
    assert service.faults(COUNT, query) == []
    assert service.faults(query, query.replace("created_at", "due_at")) == [
        "notes._COUNT: due_at may be NULL, but the field is not Optional [null]"
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("PRAGMA user_version", "a statement begins with DELETE, INSERT, SELECT, UPDATE, WITH"),
        (f"{COUNT} LIMIT 1, 2", "LIMIT a, b: write LIMIT and OFFSET"),
    ],
)
def test_a_statement_of_sqlite_alone_is_reported(service: Service, text: str, problem: str) -> None:
    assert f"notes._COUNT: {problem} [dialect]" in service.faults(COUNT, text)


def test_an_index_that_a_foreign_key_needs_is_no_fault_without_a_statement(
    service: Service,
) -> None:
    service.plant("""FROM notes WHERE owner_id = :owner_id ORDER BY created_at, id LIMIT""", (
        "FROM notes WHERE id = :owner_id LIMIT"
    ))  # fmt: skip
    assert service.faults(COUNT, "SELECT count(*) FROM notes WHERE id = :owner_id") == []


# Calls


@pytest.mark.parametrize("call", ["_ALL.one, key=id)", "_BY_NAME[id], key=id)"])
def test_a_statement_in_a_container_is_followed(service: Service, call: str) -> None:
    service.plant("_FIND, id=id)", call)
    service.plant(
        "\nclass NoteRepository",
        "\nclass _All(NamedTuple):\n    one: object\n\n_ALL = _All(_FIND)\n"
        '_BY_NAME = {"a": _FIND}\n\nclass NoteRepository',
    )
    faults = service.faults("import Literal, TypedDict\n", "import NamedTuple, TypedDict\n")
    assert any(fault.endswith("it has no bind :key [binds]") for fault in faults)


@pytest.mark.parametrize("call", ["self._which(id, _FIND)", "_unknown(_FIND)", "patch"])
def test_a_statement_that_comes_from_elsewhere_cannot_be_told(service: Service, call: str) -> None:
    faults = service.faults("_FIND, id=id)", f"{call}, id=id)")
    assert any("cannot tell which statement is run" in fault for fault in faults)


def test_a_statement_that_is_a_parameter_is_not_followed(service: Service) -> None:
    service.plant("return self._db.fetch_one(_FIND, id=id)", "return self._one(_FIND, id)")
    (fault,) = service.faults(
        "    @command\n    def by_owner",
        "    def _one(self, statement, id):\n"
        "        return self._db.fetch_one(statement, id=id)\n\n"
        "    @command\n    def by_owner",
    )
    assert "cannot tell which statement is run" in fault


@pytest.mark.parametrize("choice", ["_FIND if id else _DUE", "_DUE if id else statement"])
def test_each_arm_of_a_choice_must_take_the_keywords(service: Service, choice: str) -> None:
    assert service.faults(
        "        return self._db.fetch_one(_FIND, id=id)",
        "        statement = _FIND\n"
        f"        statement = {choice}\n"
        "        return self._db.fetch_one(statement, id=id)",
    ) == [
        "notes._DUE: it has no bind :id [binds]",
        "notes._DUE: its bind :before is not given [binds]",
    ]


def test_containers_that_a_function_chooses_are_followed(service: Service) -> None:
    service.plant("_FIND, id=id)", "choice.one, **binds)")
    service.plant("        return self._db.fetch_one(c", (
        "        choice, binds = _choose(id)\n        return self._db.fetch_one(c"
    ))  # fmt: skip
    service.plant("import Literal, TypedDict\n", "import Literal, NamedTuple, TypedDict\n")
    assert service.faults(
        "\nclass NoteRepository",
        "\nclass _Pair(NamedTuple):\n    one: object\n    other: object\n\n"
        "_PAIR = _Pair(_FIND, _DUE)\n\n"
        "def _choose(id):\n"
        "    if not id:\n        return _choose(id)\n"
        "    return _PAIR, {'key': id}\n\nclass NoteRepository",
    ) == [
        "notes._PAIR.one: its bind :id is not given [binds]",
        "notes._PAIR.other: no call runs it; remove it [unused]",
    ]


def test_a_variable_that_two_branches_assign_stands_for_both(service: Service) -> None:
    assert service.faults(
        "        return self._db.fetch_one(_FIND, id=id)",
        "        if id:\n            statement = _FIND\n"
        "        else:\n            statement = _DUE\n"
        "        return self._db.fetch_one(statement, id=id)",
    ) == [
        "notes._DUE: it has no bind :id [binds]",
        "notes._DUE: its bind :before is not given [binds]",
    ]


def test_a_patch_that_is_run_by_hand_must_get_its_binds(service: Service) -> None:
    assert service.faults(
        "patch_row(self._db, _UPDATE, id, if_updated_at, patch)",
        "self._db.write_one(_UPDATE.statement(patch, False), **patch, key=id)",
    ) == [
        "notes._UPDATE: it has no bind :key [binds]",
        "notes._UPDATE: its bind :id is not given [binds]",
    ]


@pytest.mark.parametrize(
    ("row", "faults"),
    [
        ('{"id": id, "state": "done"}', []),
        ('{"key": id, "state": "done"}', ["notes._CLOSE: its bind :id is not given [binds]"]),
    ],
)
def test_rows_of_a_statement_that_is_run_for_each_must_spell_its_binds(
    service: Service, row: str, faults: list[str]
) -> None:
    call = '_CLOSE, id=id, state="done") > 0'
    assert service.faults(f"execute({call}", f"insert_many(_CLOSE, [{row}])") == faults


def test_a_column_of_queries_that_are_joined_is_null_if_it_is_in_one(service: Service) -> None:
    query = (
        "SELECT x FROM (SELECT created_at AS x FROM notes WHERE id = :owner_id"
        " UNION ALL SELECT updated_at FROM notes WHERE owner_id = :owner_id"
        " UNION ALL SELECT 5) AS y"
    )
    assert service.faults(COUNT, query) == []
    (fault,) = service.faults("SELECT updated_at FROM", "SELECT due_at FROM")
    assert fault.startswith("notes._COUNT: nobody knows whether x can be NULL")
