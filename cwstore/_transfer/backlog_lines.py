"""Read one line of a backlog: the issue that it holds, and its edges to others."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from cwstore._transfer.format import read_time
from cwstore.errors import InvalidValueError

if TYPE_CHECKING:
    from cwstore.entities.task import TaskPriorityLike

_PRIORITIES: "dict[int, TaskPriorityLike]" = {0: "high", 1: "high", 2: "medium", 3: "low", 4: "low"}
_JSON_NAMES: dict[type[Any], str] = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Edge:
    """An entry of `dependencies`."""

    line: int
    issue: str | None
    type: str
    target: str
    problem: str = ""  # why it cannot be used; "" if nothing is wrong with its form

    def __str__(self) -> str:
        return f"{self.type} {self.target}".strip()


@dataclass(frozen=True, slots=True)
class Issue:
    """What is kept of an issue; `status` is the one of the file, `priority` the one of the task."""

    line: int
    id: str
    title: str
    description: str | None
    close_reason: str | None
    status: str
    priority: "TaskPriorityLike"
    created_at: datetime | None  # None: the file does not say
    changed_at: datetime | None  # when it was closed, or else changed last
    parents: list[Edge] = field(default_factory=list[Edge])
    blockers: list[Edge] = field(default_factory=list[Edge])


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a line; raises InvalidValueError."""
    try:
        value = json.loads(raw.decode("utf-8-sig").strip())
    except UnicodeDecodeError as error:
        raise InvalidValueError("line", f"not UTF-8 at byte {error.start + 1}") from None
    except RecursionError:
        raise InvalidValueError("line", "nested too deeply") from None
    except json.JSONDecodeError as error:
        raise InvalidValueError("line", f"not JSON: {error.msg}, column {error.colno}") from None
    except ValueError as error:  # a number of thousands of digits
        raise InvalidValueError("line", f"not JSON that can be read: {error}") from None
    if not isinstance(value, dict):
        raise InvalidValueError("line", f"expected an object, found {_JSON_NAMES[type(value)]}")
    return cast(dict[str, Any], value)


def issue_of(line: int, record: dict[str, Any]) -> Issue:
    """The issue, without edges yet; raises InvalidValueError."""
    priority = record.get("priority")
    if type(priority) is not int or priority not in _PRIORITIES:
        raise InvalidValueError("priority", f"expected 0 to 4, found {_shown(record, 'priority')}")
    return Issue(
        line=line,
        id=_text(record, "id"),
        title=_text(record, "title"),
        description=_text_or_none(record, "description"),
        close_reason=_text_or_none(record, "close_reason"),
        status=_text(record, "status"),
        priority=_PRIORITIES[priority],
        created_at=_time_or_none(record, "created_at"),
        changed_at=_time_or_none(record, "closed_at") or _time_or_none(record, "updated_at"),
    )


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise InvalidValueError(name, f"expected text, found {_shown(record, name)}")
    return value


def _text_or_none(record: dict[str, Any], name: str) -> str | None:
    return None if record.get(name) is None else _text(record, name)


def _time_or_none(record: dict[str, Any], name: str) -> datetime | None:
    return read_time(name, record.get(name) or None)


def _shown(record: dict[str, Any], name: str) -> str:
    if name not in record:
        return "nothing"
    value = record[name]
    return str(value)[:40] if type(value) is int else _JSON_NAMES[type(value)]


def edges_of(line: int, id: str | None, record: dict[str, Any]) -> list[Edge]:
    """The entries of `dependencies`, the useless ones too; raises InvalidValueError if no list."""
    entries = record.get("dependencies")
    if entries is None:
        return []
    if not isinstance(entries, list):
        raise InvalidValueError(
            "dependencies", f"expected a list, found {_shown(record, 'dependencies')}"
        )
    edges: list[Edge] = []
    for entry in cast(list[object], entries):
        try:
            if not isinstance(entry, dict):
                raise InvalidValueError(
                    "edge", f"expected an object, found {_JSON_NAMES[type(entry)]}"
                )
            fields = cast(dict[str, Any], entry)
            edges.append(Edge(line, id, _text(fields, "type"), _text(fields, "depends_on_id")))
        except InvalidValueError as error:
            edges.append(Edge(line, id, "edge", "", str(error)))
    return edges
