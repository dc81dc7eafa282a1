"""Planted faults: SQL that one engine alone understands is reported, what both do is not."""

from pathlib import Path

import pytest

from tests.kits.checker import Service


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


@pytest.mark.parametrize(
    ("condition", "problem"),
    [
        ("title LIKE 'a%'", "LIKE: compare otherwise: LIKE minds the case in PostgreSQL only"),
        ("title GLOB 'a*'", "GLOB: compare otherwise: GLOB is SQLite's"),
        ("ifnull(due_at, 1) = 1", "ifnull: not a function of both engines"),
        ("strftime('%Y', due_at) = '1'", "strftime: not a function of both engines"),
        ("max(due_at, 1) = 1", "MAX(a, b): write CASE; with two arguments it is SQLite's"),
        ("rowid = 1", "ROWID: use a column of the table"),
        ("body IS :id", "IS :id: write IS NOT DISTINCT FROM, or IS DISTINCT FROM"),
        ("is_pinned IS NOT TRUE", "IS NOT: write IS NOT DISTINCT FROM, or IS DISTINCT FROM"),
        ("is_pinned", "AND is_pinned: compare it, as in is_pinned = 1"),
        ("NOT notes.is_pinned", "NOT notes.is_pinned: compare it, as in notes.is_pinned = 1"),
        ("title == body", "==: write ="),
        ("title = body COLLATE NOCASE", "COLLATE: leave out COLLATE: the engines have other"),
        ("[title] = body", "[title]: leave out the quotes, or write them double"),
        ("body ->> 'a' = '1'", "->>: not a function of both engines"),
        ("id IN (SELECT key FROM json_tree(body))", "json_tree: not a table function that is"),
        ("title ISNULL", "ISNULL: write IS NULL"),
        ("body = x'00'", "x'00': bind it; to PostgreSQL it is a row of bits"),
        ("id IN (SELECT :id LIMIT -1)", "LIMIT below 0: leave it out; only SQLite takes it"),
    ],
)
def test_a_condition_that_only_sqlite_understands_is_reported(
    service: Service, condition: str, problem: str
) -> None:
    passage = "FROM notes WHERE id = :id\n"
    faults = service.faults(passage, f"FROM notes WHERE id = :id AND {condition}\n")
    assert any(fault.startswith(f"notes._FIND: {problem}") for fault in faults), faults
    assert all(fault.endswith("[dialect]") for fault in faults)


@pytest.mark.parametrize(
    "condition",
    [
        "due_at BETWEEN 1 AND created_at",
        "body IS NOT DISTINCT FROM :id",
        "body IS NOT NULL AND (is_pinned = 1 OR NOT (title = 'NOT x LIKE rowid ?'))",
        "CASE state WHEN 'open' THEN 1 ELSE 2 END = 1 -- LIKE this",
        "EXISTS (SELECT 1 FROM json_each(:id) WHERE value = title)",
        'coalesce("body", lower(title)) = title',
    ],
)
def test_a_condition_that_both_engines_understand_is_not_reported(
    service: Service, condition: str
) -> None:
    assert (
        service.faults(
            "FROM notes WHERE id = :id\n", f"FROM notes WHERE id = :id AND {condition}\n"
        )
        == []
    )


def test_insert_or_is_reported(service: Service) -> None:
    assert service.faults("INSERT INTO notes", "INSERT OR IGNORE INTO notes") == [
        "notes._CREATE: INSERT OR: write ON CONFLICT [dialect]"
    ]


def test_replace_behind_a_with_clause_is_reported(service: Service) -> None:
    faults = service.faults("INSERT INTO notes", "WITH a AS (SELECT 1) REPLACE INTO notes")
    assert "notes._CREATE: REPLACE INTO: write ON CONFLICT [dialect]" in faults


def test_a_positional_bind_is_reported(service: Service) -> None:
    faults = service.faults("FROM notes WHERE id = :id\n", "FROM notes WHERE id = ?\n")
    assert "notes._FIND: ?: write a bind with a name, :like_this [dialect]" in faults


def test_an_order_by_what_may_be_null_is_reported_unless_it_says_where_null_goes(
    service: Service,
) -> None:
    passage = "WHERE due_at < :before"
    fault = "notes._DUE: ORDER BY due_at: it may be NULL; write NULLS FIRST or NULLS LAST [dialect]"
    assert service.faults(passage, f"{passage} ORDER BY due_at, id") == [
        fault,
        "notes._DUE: it sorts: USE TEMP B-TREE FOR LAST TERM OF ORDER BY [sort]",
    ]
    assert fault not in service.faults("ORDER BY due_at, id", "ORDER BY due_at NULLS FIRST, id")
    late = "ORDER BY (SELECT 1 LIMIT 1), due_at LIMIT length(:before)"
    assert fault in service.faults("ORDER BY due_at NULLS FIRST, id", late)


def test_a_second_statement_in_the_text_is_reported(service: Service) -> None:
    assert service.faults("WHERE due_at < :before\n", "WHERE due_at < :before; SELECT 1\n") == [
        "notes._DUE: it is more than one statement; only the first would be prepared [dialect]"
    ]
