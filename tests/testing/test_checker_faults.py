"""Planted faults: every check of the statement checker can fail, and fails for its reason alone."""

import importlib
from pathlib import Path

import pytest

from cwstore.testing import check_statements
from tests.kits.checker import Service


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


# Of the statement _CLOSE.
_END = '''WHERE id = :id
""")


class'''
NOT_FIELDS = "the columns are not the fields of Note"
UNKNOWN = "make it Optional, or write /* never NULL: reason */ behind the expression"


def test_the_service_as_it_is_has_no_fault(service: Service) -> None:
    report = service.report()
    assert report.faults == ()
    assert len(report.lines) == 7


# The text


def test_a_statement_that_does_not_parse_is_reported(service: Service) -> None:
    assert service.faults("SELECT count(*) FROM notes", "SELECT count(*) FORM notes") == [
        'notes._COUNT: near "notes": syntax error [sql]'
    ]


def test_a_column_that_does_not_exist_is_reported(service: Service) -> None:
    assert service.faults("WHERE due_at < :before", "WHERE due_on < :before") == [
        "notes._DUE: no such column: due_on [sql]",
        "notes_due_ix: no statement uses it and no foreign key needs it [index]",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "there is no statement in it"),
        ("-- SELECT 1", "there is no statement in it"),
        ("SELECT 1; SELECT 'x", "the ' is never closed"),
        ("EXPLAIN SELECT 1", 'near "EXPLAIN": syntax error'),
    ],
)
def test_a_text_of_which_there_is_no_plan_is_reported(
    service: Service, text: str, problem: str
) -> None:
    passage = "SELECT count(*) FROM notes WHERE owner_id = :owner_id"
    faults = service.faults(passage, text)
    assert f"notes._COUNT: {problem} [sql]" in faults


# Annotations


FUTURE = '\n"""Notes."""\n\n'


def test_annotations_that_are_text_are_read(service: Service) -> None:
    service.plant(FUTURE, FUTURE + "from __future__ import annotations\n\n")
    service.plant("    due_at: datetime | None\n", "    due_at: datetime\n")
    found = service.faults("_DUE, before=before", "_DUE, after=before")
    assert "notes._DUE: it has no bind :after [binds]" in found
    assert "notes._FIND: due_at may be NULL, but the field is not Optional [null]" in found
    assert any(fault.startswith("notes._UPDATE") and "[null]" in fault for fault in found)


def test_annotations_that_are_inherited_are_read(service: Service) -> None:
    service.plant(
        "class Note:\n    id: NonEmpty\n",
        "class Row:\n    id: NonEmpty\n\n\n@dataclass(frozen=True, slots=True)\nclass Note(Row):\n",
    )
    assert service.report().faults == ()


def test_annotations_of_what_is_not_imported_are_reported(service: Service) -> None:
    service.plant(FUTURE, FUTURE + "from __future__ import annotations\n\n")
    found = service.faults("    due_at: datetime | None\n", "    due_at: Moment | None\n")
    problem = "the annotations cannot be read: name 'Moment' is not defined; import it at run time"
    assert f"notes._FIND: {problem} too [columns]" in found


# Binds and calls


def test_a_bind_that_the_call_does_not_give_is_reported(service: Service) -> None:
    assert service.faults("_FIND, id=id)", "_FIND)") == [
        "notes._FIND: its bind :id is not given [binds]"
    ]


def test_a_keyword_that_the_statement_does_not_bind_is_reported(service: Service) -> None:
    assert service.faults("_DUE, before=before", "_DUE, after=1, before=before") == [
        "notes._DUE: it has no bind :after [binds]"
    ]


def test_a_bind_that_is_neither_a_field_nor_given_a_type_is_reported(service: Service) -> None:
    assert service.faults('""", before=datetime)', '""")') == [
        "notes._DUE: :before is no field of Note; name it with its type [binds]"
    ]


def test_a_type_for_a_bind_that_does_not_exist_is_reported(service: Service) -> None:
    assert service.faults("before=datetime)", "before=datetime, after=datetime)") == [
        "notes._DUE: after is given a type, but there is no :after [binds]"
    ]


def test_a_bind_that_the_binder_cannot_read_is_reported(service: Service) -> None:
    assert service.faults("WHERE due_at < :before", "WHERE due_at < :before2") == [
        "notes._DUE: write binds as :lower_case: before, before2 [binds]"
    ]


def test_binds_that_the_binder_meets_in_another_order_than_sqlite_are_reported(
    service: Service,
) -> None:
    text = "AS [:before] WHERE id > :id AND due_at < :before"  # they are bound by position
    faults = service.faults("WHERE due_at < :before", text)
    assert "notes._DUE: write binds as :lower_case: before, id [binds]" in faults


def test_binds_through_stars_must_be_spoken_of_somewhere(service: Service) -> None:
    service.plant("_BY_OWNER, owner_id=owner_id, limit=9", '_BY_OWNER, **{"owner_id": owner_id}')
    assert service.faults("limit=int", "most=int") == [
        "notes._BY_OWNER: :limit is no field of Note; name it with its type [binds]",
        "notes._BY_OWNER: its bind :limit is not given [binds]",
        "notes._BY_OWNER: most is given a type, but there is no :most [binds]",
    ]


def test_every_statement_that_a_call_may_run_must_take_its_keywords(service: Service) -> None:
    assert service.faults("fetch_one(_FIND, id=id)", "fetch_one(_FIND if id else _DUE, id=id)") == [
        "notes._DUE: it has no bind :id [binds]",
        "notes._DUE: its bind :before is not given [binds]",
    ]


def test_a_statement_in_a_variable_is_followed(service: Service) -> None:
    passage = "        return self._db.fetch_one(_FIND, id=id)"
    assert service.faults(
        passage, "        statement = _FIND\n        return self._db.fetch_one(statement, key=id)"
    ) == [
        "notes._FIND: it has no bind :key [binds]",
        "notes._FIND: its bind :id is not given [binds]",
    ]


def test_a_statement_that_a_function_chooses_is_followed(service: Service) -> None:
    service.plant("_FIND, id=id)", "_choose(id), key=id)")
    assert service.faults(
        "\nclass NoteRepository", "\ndef _choose(id):\n    return _FIND\n\nclass NoteRepository"
    ) == [
        "notes._FIND: it has no bind :key [binds]",
        "notes._FIND: its bind :id is not given [binds]",
    ]


def test_a_call_of_nobody_knows_what_is_reported(service: Service) -> None:
    faults = service.faults("_FIND, id=id)", "globals()[id], id=id)")
    assert [fault.partition(": ")[2] for fault in faults] == [
        "cannot tell which statement is run; name it in the call, or assign it before [call]"
    ]


def test_a_patch_without_the_lock_is_reported(service: Service) -> None:
    assert service.faults(" /*unchanged*/", "") == [
        "notes._UPDATE: it has no /*unchanged*/, so `if_updated_at` would be ignored [binds]"
    ]


def test_a_patch_without_the_marker_for_its_keys_is_reported(service: Service) -> None:
    assert service.faults(" /*patch*/", "") == [
        f"notes._UPDATE: the key {key} is never assigned [binds]"
        for key in ("body", "state", "title")
    ]


def test_a_write_under_a_reading_method_is_reported(service: Service) -> None:
    assert service.faults("execute(_CLOSE, id=id", "fetch_one(_CLOSE, id=id") == [
        "notes._CLOSE: it returns no rows, but `fetch_one` runs it; add RETURNING [verb]",
        "notes._CLOSE: it writes, but `fetch_one` runs it [verb]",
    ]


def test_a_read_under_a_writing_method_is_reported(service: Service) -> None:
    assert service.faults("fetch_one(_FIND, id=id)", "write_one(_FIND, id=id)") == [
        "notes._FIND: it only reads, but `write_one` runs it [verb]"
    ]


def test_a_statement_that_nobody_runs_is_reported(service: Service) -> None:
    assert service.faults("self._db.execute(_CLOSE, id=id,", "len(") == [
        "notes._CLOSE: no call runs it; remove it [unused]"
    ]


def test_many_rows_for_a_statement_that_returns_rows_are_reported(service: Service) -> None:
    call = "self._db.insert(\n            _CREATE, id=id, owner_id"
    faults = service.faults(call, call.replace("insert(", "insert_many("))
    problem = "it returns rows, which `insert_many` would drop; leave out RETURNING"
    assert f"notes._CREATE: {problem} [verb]" in faults


def test_a_bind_behind_an_apostrophe_in_a_comment_is_seen(service: Service) -> None:
    passage = "SELECT count(*) FROM notes WHERE owner_id = :owner_id"
    query = passage.replace("FROM", "/* the owner's */ FROM")
    assert service.faults(passage, f"{query} AND title <> 'x'") == []


def test_statements_of_one_name_in_two_packages_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        "from dataclasses import dataclass",
        "from cwstore.core.statement import values_of",
        "@dataclass",
        "class Row:",
        "    id: str",
        '_ONE = values_of(int, Row)("SELECT 1")',
    ]
    run = ["class R:", "    def one(self):", "        return self._db.fetch_one(_ONE)"]
    for name, text in {"a": [*lines, *run], "b": lines}.items():
        folder = tmp_path / "two_packages" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
        (folder / "queries.py").write_text("\n".join(text), encoding="utf-8")
    (tmp_path / "two_packages" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    report = check_statements(importlib.import_module("two_packages"), "")
    assert [(one.subject, one.check) for one in report.faults] == [("b.queries._ONE", "unused")]
    assert [line.subject for line in report.lines] == ["a.queries._ONE", "b.queries._ONE"]


# Columns


def test_columns_in_another_order_are_reported(service: Service) -> None:
    assert service.faults(
        "    title: NonEmpty\n    body: Json | None\n",
        "    body: Json | None\n    title: NonEmpty\n",
    ) == [
        f"notes.{name}: {NOT_FIELDS}: another order [columns]"
        for name in ("_BY_OWNER", "_CREATE", "_DUE", "_FIND", "_UPDATE")
    ]


def test_a_missing_column_and_one_too_many_are_reported(service: Service) -> None:
    assert service.faults(
        "SELECT {_COLUMNS} FROM notes WHERE id",
        "SELECT {_COLUMNS[:-12]}, 1 AS x FROM notes WHERE id",
    ) == [f"notes._FIND: {NOT_FIELDS}: without updated_at and with x besides [columns]"]


def test_a_value_of_two_columns_is_reported(service: Service) -> None:
    assert service.faults("SELECT count(*) FROM", "SELECT count(*), 2 AS x FROM") == [
        "notes._COUNT: it returns count(*), x; a value is one column [columns]"
    ]


def test_a_value_of_a_type_that_is_not_converted_is_reported(service: Service) -> None:
    assert service.faults("values_of(int, Note)", "values_of(bool, Note)") == [
        "notes._COUNT: values come as str, int, float or bytes, never as bool [type]"
    ]


def test_a_value_of_another_declared_type_is_reported(service: Service) -> None:
    assert service.faults("SELECT count(*) FROM", "SELECT title FROM") == [
        "notes._COUNT: title is TEXT, the field int [type]"
    ]


def test_a_value_of_a_column_with_a_check_list_may_be_plain_text(service: Service) -> None:
    service.plant("values_of(int, Note)", "values_of(str, Note)")
    assert service.faults("SELECT count(*) FROM", "SELECT state FROM") == []


def test_a_declared_type_that_the_field_does_not_have_is_reported(service: Service) -> None:
    service.plant("before=datetime)", "before=str)")
    faults = service.faults("    due_at: datetime | None\n", "    due_at: str | None\n")
    assert "notes._FIND: due_at is INTEGER, the field str | None [type]" in faults
    assert "notes._DUE: :before and due_at: the column is INTEGER, the bind str [type]" in faults
    assert (
        "notes._CREATE: :due_at and due_at: the column is INTEGER, the bind str | None [type]"
        in faults
    )


def test_json_that_the_field_does_not_know_of_is_reported(service: Service) -> None:
    assert "notes._FIND: body has CHECK (json_valid), the annotation is plain [rule]" in (
        service.faults("body: Json | None\n", "body: str | None\n")
    )


def test_a_field_that_may_be_empty_over_a_column_that_may_not_is_reported(
    service: Service,
) -> None:
    assert "notes._FIND: title has CHECK (title <> ''), the annotation is not NonEmpty [rule]" in (
        service.faults("    title: NonEmpty\n", "    title: str\n")
    )


# None


def test_a_nullable_column_in_a_field_without_none_is_reported(service: Service) -> None:
    assert "notes._FIND: due_at may be NULL, but the field is not Optional [null]" in (
        service.faults("    due_at: datetime | None\n", "    due_at: datetime\n")
    )


def test_a_column_that_is_never_null_in_an_optional_field_is_reported(service: Service) -> None:
    assert "notes._FIND: title is never NULL, but the field is Optional [null]" in (
        service.faults("    title: NonEmpty\n", "    title: NonEmpty | None\n")
    )


_OUTER = "FROM owners LEFT JOIN notes ON notes.owner_id = owners.id WHERE owners.id = :owner_id"
_UNION = "UNION ALL SELECT due_at FROM notes WHERE id = :owner_id"


@pytest.mark.parametrize(
    ("name", "expression", "rest"),
    [
        ("max(created_at)", "max(created_at)", "FROM notes WHERE owner_id = :owner_id"),
        ("x", "(SELECT created_at FROM notes WHERE owner_id = :owner_id) AS x", ""),
        ("x", "created_at + 1 AS x", "FROM notes WHERE owner_id = :owner_id"),
        ("created_at", "notes.created_at", _OUTER),
        ("created_at", "created_at", f"FROM notes WHERE owner_id = :owner_id {_UNION}"),
    ],
    ids=["aggregate", "scalar subquery", "expression", "outer join", "union"],
)
def test_a_column_of_which_nobody_knows_is_reported_unless_it_is_marked(
    service: Service, name: str, expression: str, rest: str
) -> None:
    passage = "SELECT count(*) FROM notes WHERE owner_id = :owner_id"
    assert service.faults(passage, f"SELECT {expression} {rest}") == [
        f"notes._COUNT: nobody knows whether {name} can be NULL; {UNKNOWN} [null]"
    ]
    marked = f"SELECT {expression} /* never NULL: the test says so */ {rest}"
    assert service.faults(f"SELECT {expression} {rest}", marked) == []


def test_none_for_a_column_that_is_not_null_is_reported(service: Service) -> None:
    service.plant("_CLOSE, id=id, state", "_CLOSE, id=id, to")
    service.plant("SET state = :state", "SET state = :to")
    assert service.faults(_END, _END.replace(")", ", to=State | None)")) == [
        "notes._CLOSE: :to and state: the bind may be None, the column is NOT NULL [null]"
    ]


def test_none_is_reported_too_where_the_row_is_found_by_another_table(service: Service) -> None:
    service.plant("_CLOSE, id=id, state", "_CLOSE, id=id, to")
    service.plant(
        "SET state = :state, updated_at = {NEXT_UPDATED_AT} WHERE id = :id",
        "SET updated_at = {NEXT_UPDATED_AT}, state = :to FROM owners"
        " WHERE owners.id = notes.owner_id AND notes.id = :id",
    )
    end = _END.replace("WHERE id", "AND notes.id")
    assert service.faults(end, end.replace(")", ", to=State | None)")) == [
        "notes._CLOSE: :to and state: the bind may be None, the column is NOT NULL [null]"
    ]


def test_a_comparison_with_what_may_be_none_is_reported(service: Service) -> None:
    assert service.faults("before=datetime)", "before=datetime | None)") == [
        "notes._DUE: :before and due_at: the bind may be None, which equals nothing [null]"
    ]


@pytest.mark.parametrize(
    "start", ["insert INTO", "/* new */ INSERT INTO", "WITH a AS (SELECT 1) INSERT INTO"]
)
def test_an_insert_takes_none_however_it_begins(service: Service, start: str) -> None:
    service.plant("INSERT INTO", start)
    assert service.report().faults == ()
    kinds = service.module()._CREATE.rules()
    assert {name for name, kind in kinds.items() if kind.optional} == {"body", "due_at"}


def test_a_filter_takes_no_none_although_a_comment_speaks_of_insert(service: Service) -> None:
    service.plant(
        "SELECT {_COLUMNS} FROM notes WHERE id = :id",
        "SELECT {_COLUMNS} FROM notes WHERE id = :id AND due_at = :due_at -- INSERT",
    )
    assert not service.module()._FIND.rules()["due_at"].optional


# Enums, patches, limits, stamps


@pytest.mark.parametrize(
    "condition",
    [
        "state = 'late'",
        "'late' <> state",
        "notes.state = 'late'",
        "state IN ('open', 'late')",
        "notes.state NOT IN ('late')",
        "'late' = notes.state",
    ],
)
def test_a_literal_that_the_check_list_does_not_have_is_reported(
    service: Service, condition: str
) -> None:
    passage = "FROM notes WHERE owner_id = :owner_id\n"
    assert service.faults(passage, passage.replace("\n", f" AND {condition}\n")) == [
        "notes._COUNT: state: its CHECK list has no 'late' [enum]"
    ]


@pytest.mark.parametrize(
    "condition",
    [
        "state = 'done'",
        "state || 'x' <> 'late'",
        "state = 'o' || 'pen'",
        "is_pinned IN (0, 1)",
        "state IN (SELECT 'late')",
        "title = 'late'",
        "title = state",
    ],
)
def test_a_literal_that_may_stand_there_is_not_reported(service: Service, condition: str) -> None:
    passage = "FROM notes WHERE owner_id = :owner_id\n"
    assert service.faults(passage, passage.replace("\n", f" AND {condition}\n")) == []


def test_a_stored_literal_that_the_check_list_does_not_have_is_reported(service: Service) -> None:
    service.plant('_CLOSE, id=id, state="done"', "_CLOSE, id=id")
    assert service.faults("SET state = :state", "SET state = 'shut'") == [
        "notes._CLOSE: state: its CHECK list has no 'shut' [enum]"
    ]


def test_an_inserted_literal_that_the_check_list_does_not_have_is_reported(
    service: Service,
) -> None:
    service.plant('state="open",', "")
    assert service.faults(":body, :state,", ":body, 'late',") == [
        "notes._CREATE: state: its CHECK list has no 'late' [enum]"
    ]


def test_a_check_list_that_another_condition_follows_is_read_to_its_bracket(
    service: Service,
) -> None:
    check = "CHECK (state IN ('open', 'done'))"
    assert service.faults(check, check.replace("))", ") AND title <> 'x' AND id <> '')")) == []
    assert "notes._FIND: state has no CHECK list, the field is State [enum]" in service.faults(
        "AND title <> 'x'", "OR title <> 'x'"
    )


def test_a_check_is_read_in_lower_case_too(service: Service) -> None:
    service.plant("CHECK (state IN (", "check (state in (")
    body = "CHECK (body IS NULL OR json_valid(body))"
    assert service.faults(body, body.lower()) == []


def test_a_member_that_the_check_list_does_not_have_is_reported(service: Service) -> None:
    assert "notes._FIND: state: State has 'late', the CHECK list does not [enum]" in service.faults(
        '    DONE = "done"\n', '    DONE = "done"\n    LATE = "late"\n'
    )


def test_a_value_of_the_check_list_that_is_no_member_is_reported(service: Service) -> None:
    assert "notes._FIND: state: the CHECK list has 'late', State does not [enum]" in service.faults(
        "('open', 'done')", "('open', 'done', 'late')"
    )


def test_an_enum_over_a_column_without_a_check_list_is_reported(service: Service) -> None:
    assert "notes._FIND: state has no CHECK list, the field is State [enum]" in (
        service.faults("CHECK (state IN ('open', 'done'))", "CHECK (state <> '?')")
    )


def test_a_plain_bind_for_a_column_with_a_check_list_is_reported(service: Service) -> None:
    assert service.faults(_END, _END.replace(")", ", state=str)")) == [
        "notes._CLOSE: :state and state has a CHECK list, the field is str [enum]"
    ]


def test_a_key_of_a_patch_that_is_no_field_is_reported(service: Service) -> None:
    assert service.faults("    title: str\n", "    title: str\n    shelf: str\n") == [
        "notes._UPDATE: the key shelf is no field of Note [columns]"
    ]


def test_a_key_of_a_patch_with_another_word_on_none_is_reported(service: Service) -> None:
    assert service.faults("    title: str\n", "    title: str | None\n") == [
        "notes._UPDATE: the key title is str | None, the field str [type]"
    ]


@pytest.mark.parametrize(
    ("taken", "faults"),
    [
        ("State | str", []),
        ('State | Literal["open", "done"]', []),
        ('State | Literal["open"]', ["['open']"]),
        ('State | Literal["open", "late"]', ["['open', 'late']"]),
    ],
)
def test_a_key_of_a_patch_takes_the_values_of_its_enum_and_no_other_text(
    service: Service, taken: str, faults: list[str]
) -> None:
    assert service.faults("    state: State | str\n", f"    state: {taken}\n") == [
        f"notes._UPDATE: the key state takes {values}, which are not the values of State [enum]"
        for values in faults
    ]


def test_a_key_of_a_patch_that_may_be_another_enum_is_reported(service: Service) -> None:
    service.plant(
        "class State(StrEnum):", 'class Size(StrEnum):\n    BIG = "big"\n\n\nclass State(StrEnum):'
    )
    assert service.faults("    state: State | str\n", '    state: Size | Literal["big"]\n') == [
        "notes._UPDATE: the key state is Size, the field State [type]"
    ]


def test_a_limit_that_is_no_integer_is_reported(service: Service) -> None:
    assert service.faults("limit=int", "limit=str") == [
        "notes._BY_OWNER: :limit is a LIMIT, its rule is str [type]"
    ]


def test_an_update_that_leaves_updated_at_alone_is_reported(service: Service) -> None:
    assert service.faults("state = :state, updated_at = {NEXT_UPDATED_AT}", "state = :state") == [
        "notes._CLOSE: it does not set updated_at = {NEXT_UPDATED_AT} [stamp]"
    ]


def test_a_time_that_only_the_other_table_of_an_update_has_is_no_stamp(service: Service) -> None:
    passage = "state = :state, updated_at = {NEXT_UPDATED_AT} WHERE id = :id"
    other = "(SELECT updated_at = {NEXT_UPDATED_AT} AS a FROM notes WHERE id = :id) AS other"
    assert service.faults(passage, f"state = :state FROM {other} WHERE notes.id = :id") == [
        "notes._CLOSE: it does not set updated_at = {NEXT_UPDATED_AT} [stamp]"
    ]


_UPSERT = "ON CONFLICT (id) DO UPDATE SET title = excluded.title"


@pytest.mark.parametrize(
    ("stamp", "faults"),
    [
        ("", ["notes._CREATE: it does not set updated_at = {NEXT_UPDATED_AT} [stamp]"]),
        (", updated_at = {NEXT_UPDATED_AT}", []),
        (", updated_at = {NEXT_UPDATED_AT.replace('updated_at', 'notes.updated_at')}", []),
    ],
)
def test_an_upsert_that_leaves_updated_at_alone_is_reported(
    service: Service, stamp: str, faults: list[str]
) -> None:
    passage = ":due_at, :now, :now)\n"
    assert service.faults(passage, f"{passage}    {_UPSERT}{stamp}\n") == faults


# Allowances


def test_a_fault_that_is_allowed_for_a_reason_is_not_reported(service: Service) -> None:
    service.plant("ORDER BY created_at, id LIMIT", "ORDER BY updated_at, id LIMIT")
    assert service.report(allow={"sort": {"notes._BY_OWNER": "few notes"}}).faults == ()


def test_an_allowance_that_is_not_needed_is_reported(service: Service) -> None:
    (fault,) = service.report(allow={"sort": {"notes._BY_OWNER": "few notes"}}).faults
    assert str(fault) == "notes._BY_OWNER: sort is allowed but does not occur [allowance]"


def test_an_allowance_without_a_reason_is_reported(service: Service) -> None:
    service.plant("ORDER BY created_at, id LIMIT", "ORDER BY updated_at, id LIMIT")
    faults = service.report(allow={"sort": {"notes._BY_OWNER": " "}}).faults
    assert [one.check for one in faults] == ["sort", "allowance"]
