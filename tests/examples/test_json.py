"""Rows as JSON, and patches as bodies: what pydantic and json make of them."""

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

import cwstore
from cwstore import Account, NewTask, Task, TaskPatch
from tests.kits.database import OpenStore
from tests.kits.entities import SetClock

NOON = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
BODIES = [name for name in dir(cwstore) if hasattr(getattr(cwstore, name), "__total__")]


def test_a_row_is_written_and_read_by_pydantic(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(NOON)) as store:
        task = store.tasks.create(name="t", id="t", priority="high")
    rows = TypeAdapter(Task)
    text = rows.dump_json(task)
    assert rows.validate_json(text) == task
    written = json.loads(text)
    assert (written["priority"], written["created_at"]) == ("high", "2026-01-02T03:04:05.000006Z")


def test_json_alone_writes_a_row_too_and_neither_shows_a_secret(open_store: OpenStore) -> None:
    with open_store(clock=SetClock(NOON)) as store:
        account = store.accounts.create(email="e", credentials='{"key": "secret"}')
    plain = json.loads(json.dumps(dataclasses.asdict(account), default=str))
    assert plain["created_at"] == "2026-01-02 03:04:05.000006+00:00"
    written = json.loads(TypeAdapter(Account).dump_json(account))
    assert written["credentials"] == plain["credentials"] == "**********"


@pytest.mark.parametrize("name", BODIES)
def test_each_patch_has_a_schema(name: str) -> None:
    kind = getattr(cwstore, name)
    schema: dict[str, Any] = TypeAdapter(kind).json_schema()
    assert schema["properties"].keys() == kind.__annotations__.keys()
    assert {*schema.get("required", ())} == kind.__required_keys__


def test_a_patch_is_checked() -> None:
    patches: TypeAdapter[Any] = TypeAdapter(TaskPatch)
    assert patches.validate_json('{"status": "pending", "summary": null}') == {
        "status": "pending",
        "summary": None,
    }
    assert patches.validate_python({}) == {}
    with pytest.raises(ValidationError):
        patches.validate_python({"status": "nope"})
    with pytest.raises(ValidationError):
        TypeAdapter[Any](NewTask).validate_python({})
