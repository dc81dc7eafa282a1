"""Importing a backlog: every line and every edge is stored, left out or told, and nothing twice."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwstore._transfer.backlog import BATCH, BacklogReport, Remark, import_backlog, read_backlog
from cwstore.errors import StorageError
from cwstore.store import Store

BACKLOG = Path(__file__).parents[1] / "data" / "backlog.jsonl"
ROOT = Path(__file__).parents[2]
RING = "this would close a cycle ('k-2' -> 'k-1' -> 'k-2'); remove one of its other edges first"

REFUSED = f"""
line 6: t-5 -> parent-child t-4: that issue is a tombstone
line 6: t-5 -> blocks t-4: that issue is a tombstone
line 7: t-6 -> parent-child e-1: the issue has a parent already, e-2
line 10: c-2 -> parent-child c-1: closes a cycle of parents
line 11: s-1 -> parent-child s-1: an issue cannot be its own parent
line 11: s-1 -> blocks s-1: task_dependencies: 's-1' cannot wait for itself
line 12: d-1 -> parent-child nowhere: no issue has that id
line 12: d-1 -> blocks nowhere: no issue has that id
line 13: u-1 -> blocks t-1: the issue has this edge already
line 15: k-2 -> blocks k-1: task_dependencies: {RING}
line 17: no id: line: not JSON: Unterminated string starting at, column 24
line 18: no id: line: expected an object, found a list
line 19: x-2: title: expected text, found nothing
line 19: x-2 -> blocks t-1: its issue was refused
line 20: no id: id: must not be empty
line 21: x-3: title: must not be empty
line 22: x-4: priority: expected 0 to 4, found 7
line 23: x-5: priority: expected 0 to 4, found true or false
line 24: x-6: title: expected text, found 6
line 25: t-1: id: the issue of line 2 has it
line 25: t-1 -> blocks e-1: its issue was refused
line 26: z-1: title: contains U+0000, which SQLite text cannot hold
line 27: z-2: description: contains a lone surrogate, which is not text
line 28: x-7: dependencies: expected a list, found an object
line 29: m-1 -> edge: depends_on_id: expected text, found nothing
line 29: m-1 -> edge: edge: expected an object, found text
line 30: m-2 -> parent-child z-1: that issue was refused
line 30: m-2 -> blocks z-1: that issue was refused
line 30: m-2 -> blocks x-2: that issue was refused
line 32: x-8: status: expected text, found nothing
line 33: x-9: priority: expected 0 to 4, found nothing
""".strip().splitlines()

LEFT_OUT = """
line 5: t-4: a tombstone
line 5: t-4 -> blocks t-1: its issue is a tombstone
line 5: t-4 -> parent-child e-1: its issue is a tombstone
line 16: l-1 -> related t-1: a link without order
line 16: l-1 -> discovered-from nowhere: a link without order
""".strip().splitlines()

#: id, name, description, status, priority, parent, summary, dependencies; parents come first.
STORED = [
    ("e-1", "An epic", None, "pending", "high", None, None, []),
    ("t-1", "Done", "All of it", "completed", "high", "e-1", "Merged", []),
    ("t-2", "Waits", "", "pending", "medium", None, None, ["t-1", "t-3"]),
    ("t-3", "Is waited for", None, "pending", "low", None, None, []),
    ("t-5", "Of a tombstone", None, "pending", "low", None, None, []),
    ("e-2", "A later epic", None, "pending", "medium", "e-1", None, []),
    ("t-6", "Of two parents", None, "pending", "medium", "e-2", None, []),
    ("c-2", "In a circle, too", None, "pending", "medium", None, None, []),
    ("c-1", "In a circle", None, "pending", "medium", "c-2", None, []),
    ("s-1", "Itself", None, "pending", "medium", None, None, []),
    ("d-1", "Dangles", None, "pending", "medium", None, None, []),
    ("u-1", "Says it twice", None, "pending", "medium", None, None, ["t-1"]),
    ("k-1", "Waits for the next", None, "pending", "medium", None, None, ["k-2"]),
    ("k-2", "Waits for the last", None, "pending", "medium", None, None, []),
    ("l-1", "Has links", None, "pending", "medium", None, None, []),
    ("m-1", "Odd edges", None, "pending", "medium", None, None, []),
    ("m-2", "Below what was refused", None, "pending", "medium", None, None, []),
]


def import_file(store: Store, file: str, **given: Any) -> BacklogReport:
    return import_backlog(store, read_backlog(file), **given)


def lines_of(remarks: tuple[Remark, ...]) -> list[str]:
    return [str(remark) for remark in remarks]


def issue(id: str, *edges: tuple[str, str], status: str = "open") -> dict[str, Any]:
    return {
        "id": id,
        "title": f"Issue {id}",
        "status": status,
        "priority": 2,
        "dependencies": [{"type": kind, "depends_on_id": other} for kind, other in edges],
    }


def write(file: Path, *records: object) -> str:
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(file)


def stored(store: Store, report: BacklogReport) -> list[tuple[Any, ...]]:
    assert report.initiative_id is not None
    return [
        (
            task.id,
            task.name,
            task.description,
            task.status,
            task.priority,
            task.parent_task_id,
            task.summary,
            store.tasks.get_dependencies(task.id),
        )
        for task in store.tasks.find_by_initiative_id(report.initiative_id)
    ]


def test_every_line_and_edge_is_stored_or_told(store: Store) -> None:
    report = import_file(store, str(BACKLOG))
    assert lines_of(report.refused) == REFUSED
    assert [one.issue for one in report.refused if ": no id: " in str(one)] == [None, None, ""]
    assert lines_of(report.left_out) == LEFT_OUT
    assert stored(store, report) == STORED
    assert replace(report, left_out=(), refused=(), seconds=0) == BacklogReport(
        file=str(BACKLOG),
        initiative_id=store.initiatives.find_all()[0].id,
        initiative="backlog",
        issues_read=32,
        edges_read=29,
        tasks={"completed": 1, "pending": 16},
        parents=4,
        dependencies=4,
        left_out=(),
        refused=(),
        seconds=0,
    )
    assert report.adds_up
    assert report.summary == (
        f"{BACKLOG}: of 32 issues 17 stored, 1 left out, 14 refused; of 29 edges 4 stored as"
        " parents, 4 as dependencies, 4 left out, 17 refused"
    )


def test_times_of_creation_and_of_closing_are_kept(store: Store, tmp_path: Path) -> None:
    made = {"created_at": "2025-12-24T18:08:25Z", "updated_at": "2025-12-25T10:00:00+02:00"}
    closed = {**made, "closed_at": "2025-12-26T09:00:00.123456789Z"}
    backwards = {**made, "updated_at": "2020-01-01T00:00:00Z"}
    file = write(
        tmp_path / "times.jsonl",
        issue("a") | made,
        issue("b", ("parent-child", "a"), ("blocks", "a"), status="closed") | closed,
        issue("c") | backwards,
        issue("d") | made | {"title": ""},
        issue("e") | {"created_at": "yesterday"},
        issue("f") | {"closed_at": None},
    )
    report = import_file(store, file)
    created = datetime(2025, 12, 24, 18, 8, 25, tzinfo=UTC)
    kept = [(task.id, task.created_at, task.updated_at) for task in store.tasks.find_all()[:3]]
    assert kept == [
        ("a", created, datetime(2025, 12, 25, 8, tzinfo=UTC)),
        ("b", created, datetime(2025, 12, 26, 9, 0, 0, 123456, tzinfo=UTC)),
        ("c", created, created),
    ]
    assert store.tasks.get("b").parent_task_id == "a"
    assert store.tasks.get_dependencies("b") == ["a"]
    assert lines_of(report.refused) == [
        "line 4: d: title: must not be empty",
        "line 5: e: created_at: expected a time such as 2026-05-04T12:00:00.000000+00:00",
    ]
    assert store.tasks.get("f").created_at > created
    assert report.adds_up
    again = import_file(store, file)
    assert lines_of(again.refused)[0] == (
        "line 1: a: tasks.id: this value is taken by another row; choose another"
    )


def test_a_number_that_is_missing_is_noticed(store: Store) -> None:
    report = import_file(store, str(BACKLOG))
    assert not replace(report, issues_read=33).adds_up
    assert not replace(report, edges_read=28).adds_up
    assert not replace(report, refused=report.refused[1:]).adds_up


def test_a_second_import_refuses_what_is_there_and_makes_no_initiative(store: Store) -> None:
    import_file(store, str(BACKLOG))
    initiatives, tasks = store.initiatives.find_all(), store.tasks.find_all()
    again = import_file(store, str(BACKLOG), initiative="Again")
    taken = "tasks.id: this value is taken by another row; choose another"
    assert (again.initiative, again.initiative_id, again.tasks) == ("Again", None, {})
    assert f"line 3: t-2: {taken}" in lines_of(again.refused)
    assert "line 3: t-2 -> blocks t-1: its issue was refused" in lines_of(again.refused)
    assert lines_of(again.left_out) == LEFT_OUT
    assert again.adds_up
    assert (store.initiatives.find_all(), store.tasks.find_all()) == (initiatives, tasks)


def test_a_grown_file_adds_what_is_new(store: Store, tmp_path: Path) -> None:
    import_file(store, write(tmp_path / "one.jsonl", issue("a")))
    file = write(tmp_path / "two.jsonl", issue("a"), issue("b", ("blocks", "a")))
    report = import_file(store, file)
    assert stored(store, report) == [
        ("b", "Issue b", None, "pending", "medium", None, None, ["a"]),
    ]
    assert report.adds_up


def test_a_parent_of_another_import_is_refused_and_the_child_is_kept(
    store: Store, tmp_path: Path
) -> None:
    import_file(store, write(tmp_path / "one.jsonl", issue("a")))
    report = import_file(store, write(tmp_path / "two.jsonl", issue("b", ("parent-child", "a"))))
    assert lines_of(report.refused) == ["line 1: b -> parent-child a: no issue has that id"]
    assert report.tasks == {"pending": 1}


def test_bytes_that_are_no_text_and_json_that_is_too_much_are_told(
    store: Store, tmp_path: Path
) -> None:
    file = tmp_path / "odd.jsonl"
    good = json.dumps(issue("a")).encode()
    file.write_bytes(
        b"\xef\xbb\xbf" + good + b"\r\n"
        b' \t \n{"id": "\xff"}\n' + b"[" * 100_000 + b"\n" + b"9" * 5_000 + b"\n"
        b"null\n" + good.replace(b'"a"', '"zw\u2028ei"'.encode())
    )
    report = import_file(store, str(file))
    refused = lines_of(report.refused)
    assert refused[:2] == [
        "line 3: no id: line: not UTF-8 at byte 9",
        "line 4: no id: line: nested too deeply",
    ]
    assert refused[2].startswith("line 5: no id: line: not JSON that can be read: Exceeds")
    assert refused[3:] == ["line 6: no id: line: expected an object, found null"]
    assert [row[0] for row in stored(store, report)] == ["a", "zw\u2028ei"]
    assert report.adds_up


def test_parents_that_come_after_their_child_are_stored_in_the_order_in_which_it_names_them(
    store: Store, tmp_path: Path
) -> None:
    child = issue("child", ("parent-child", "first"), ("parent-child", "second"))
    report = import_file(store, write(tmp_path / "b.jsonl", child, issue("second"), issue("first")))
    assert [row[0] for row in stored(store, report)] == ["first", "second", "child"]


def test_a_long_chain_of_parents_comes_in_batches_root_first(store: Store, tmp_path: Path) -> None:
    last = 3 * BATCH
    chain = [issue(str(n), ("parent-child", str(n + 1))) for n in range(last)]
    seen: list[tuple[int, int]] = []
    report = import_file(
        store,
        write(tmp_path / "chain.jsonl", *chain, issue(str(last), ("blocks", "0"))),
        on_progress=lambda done, total: seen.append((done, total)),
    )
    total = last + 2
    assert seen == [(500, total), (1000, total), (1500, total), (1501, total), (1502, total)]
    assert [row[0] for row in stored(store, report)] == [str(n) for n in range(last, -1, -1)]
    assert (report.parents, report.dependencies, report.refused) == (last, 1, ())


def test_a_value_that_the_store_refuses_is_named_as_in_the_file(
    store: Store, tmp_path: Path
) -> None:
    bad = (issue("a") | {"title": ""}, issue("b") | {"close_reason": "x\0y"})
    report = import_file(store, write(tmp_path / "bad.jsonl", *bad))
    assert lines_of(report.refused) == [
        "line 1: a: title: must not be empty",
        "line 2: b: close_reason: contains U+0000, which SQLite text cannot hold",
    ]


@pytest.mark.parametrize("name", ["", "missing.jsonl"])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match=r"cannot read .*; give another path"):
        read_backlog(str(tmp_path / name))


ids = st.sampled_from("abcdef")
edges = st.lists(
    st.tuples(st.sampled_from(["blocks", "parent-child", "related"]), ids | st.just("-")),
    max_size=4,
)
issues = st.builds(
    lambda name, edges, status: issue(name, *edges, status=status),
    ids,
    edges,
    st.sampled_from(["open", "closed", "tombstone"]),
)


def test_whatever_the_file_holds_the_numbers_add_up(store: Store, tmp_path: Path) -> None:
    @given(st.lists(issues | st.sampled_from([None, {"id": "a"}]), max_size=10))
    def check(records: list[object]) -> None:
        report = import_file(store, write(tmp_path / "any.jsonl", *records))
        assert report.adds_up
        assert report.issues_read == len(records)
        tombstones = {remark.issue for remark in report.left_out if remark.edge is None}
        tasks = {task.id for task in store.tasks.find_all()}
        assert not tombstones & tasks
        refused = {remark.line for remark in report.refused if remark.edge is None}
        assert len(refused) + len(tasks) + len(tombstones) == len(records)
        for initiative in store.initiatives.find_all():
            store.initiatives.delete(initiative.id)

    check()


# The tool


def run_tool(*arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tools._python.import_backlog", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_the_tool_lists_every_refusal_and_is_done(file: Path) -> None:
    done = run_tool(BACKLOG, file, "--initiative", "Ours")
    *refused, summary = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert refused == [f"refused: {line}" for line in REFUSED]
    assert summary.startswith(f"{BACKLOG}: of 32 issues 17 stored, 1 left out, 14 refused; of 29")
    with Store.open(file) as store:
        assert [initiative.name for initiative in store.initiatives.find_all()] == ["Ours"]


def test_the_tool_lists_what_it_leaves_out_when_asked(file: Path) -> None:
    done = run_tool(BACKLOG, file, "--all")
    assert done.stdout.splitlines()[: len(LEFT_OUT)] == [f"left out: {line}" for line in LEFT_OUT]


def test_the_tool_speaks_json(file: Path) -> None:
    done = run_tool(BACKLOG, file, "--json")
    report = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert report["adds_up"] is True
    assert report["tasks"] == {"completed": 1, "pending": 16}
    assert report["refused"][0] == {
        "line": 6,
        "issue": "t-5",
        "edge": "parent-child t-4",
        "reason": "that issue is a tombstone",
    }


def test_the_tool_says_in_one_line_why_it_cannot(file: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing.jsonl"
    done = run_tool(missing, file)
    assert (done.returncode, done.stdout, done.stderr) == (
        1,
        "",
        f"import_backlog: cannot read {missing}: No such file or directory; give another path\n",
    )
    assert list(tmp_path.iterdir()) == []
    assert run_tool(file).returncode == 2
