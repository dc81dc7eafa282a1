"""What both SQLAlchemy adapters use: the tables, and an engine on the standard library's sqlite3.

SQLAlchemy is no dependency of this checkout's own environment, hence the loose types.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from importlib import import_module
from typing import Any

from tools._python.bench import common
from tools._python.bench.by_hand import EPOCH, Answered, Category, Priority, Status, Type

sa: Any = import_module("sqlalchemy")
event: Any = import_module("sqlalchemy.event")
MICROSECOND = timedelta(microseconds=1)


def _to_micros(_self: object, value: Any, _dialect: object) -> Any:
    return None if value is None else (value - EPOCH) // MICROSECOND


def _from_micros(_self: object, value: Any, _dialect: object) -> Any:
    return None if value is None else EPOCH + MICROSECOND * value


#: Microseconds since 1970 as an aware datetime.
Stamp: Any = type(
    "Stamp",
    (sa.types.TypeDecorator,),
    {
        "impl": sa.BigInteger,
        "cache_ok": True,
        "process_bind_param": _to_micros,
        "process_result_value": _from_micros,
    },
)


def utc_now() -> datetime:
    """A stamp for SQLAlchemy."""
    return datetime.now(EPOCH.tzinfo)


def _values(members: type[StrEnum]) -> list[str]:
    return [member.value for member in members]


def _enum(members: type[StrEnum]) -> Any:
    return sa.Enum(
        members,
        native_enum=False,
        values_callable=_values,
        create_constraint=False,
    )


def _text(*names: str) -> list[Any]:
    return [sa.Column(name, sa.Text) for name in names]


def _table(name: str, *columns: Any) -> Any:
    return sa.Table(name, METADATA, sa.Column("id", sa.Text, primary_key=True), *columns)


def _stamps() -> list[Any]:
    return [sa.Column("created_at", Stamp), sa.Column("updated_at", Stamp)]


METADATA = sa.MetaData()
tasks = _table(
    "tasks",
    *_text("phase_id", "initiative_id", "parent_task_id", "name", "description"),
    sa.Column("type", _enum(Type)),
    sa.Column("category", _enum(Category)),
    sa.Column("priority", _enum(Priority)),
    sa.Column("status", _enum(Status)),
    sa.Column("requires_approval", sa.Boolean),
    sa.Column("sort_order", sa.Integer),
    sa.Column("summary", sa.Text),
    *_stamps(),
)
accounts = _table(
    "accounts",
    *_text("email", "provider", "config_json", "credentials"),
    sa.Column("is_exhausted", sa.Boolean),
    sa.Column("exhausted_until", Stamp),
    sa.Column("last_used_at", Stamp),
    sa.Column("sort_order", sa.Integer),
    *_stamps(),
)
conversations = _table(
    "conversations",
    *_text("from_agent_id", "to_agent_id", "initiative_id", "phase_id", "task_id"),
    *_text("question", "answer"),
    sa.Column("status", _enum(Answered)),
    *_stamps(),
)
initiatives = _table(
    "initiatives",
    *_text("name", "status"),
    sa.Column("merge_requires_approval", sa.Boolean),
    *_text("branch"),
    *_stamps(),
)
phases = _table("phases", *_text("initiative_id", "name", "content", "status"), *_stamps())
chunks = sa.Table(
    "agent_log_chunks",
    METADATA,
    sa.Column("seq", sa.Integer, primary_key=True),
    *_text("id", "agent_id", "agent_name"),
    sa.Column("session_number", sa.Integer),
    *_text("content"),
    sa.Column("created_at", Stamp),
)
edges = sa.Table(
    "task_dependencies",
    METADATA,
    sa.Column("task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
    sa.Column("depends_on_task_id", sa.Text, sa.ForeignKey("tasks.id"), primary_key=True),
)
READY = sa.text(common.READY)
URGENCY = sa.case((tasks.c.priority == "high", 0), (tasks.c.priority == "medium", 1), else_=2)


def open_engine(file: str) -> tuple[Any, Any]:
    """An engine whose transactions only read, and one whose transactions begin IMMEDIATE."""
    reading = sa.create_engine(
        f"sqlite+pysqlite:///{file}",
        connect_args={"isolation_level": None, "timeout": 5.0, "cached_statements": 2048},
    )
    writing = reading.execution_options(immediate=True)

    def configure(connection: Any, _record: object) -> None:
        for pragma in common.PRAGMAS:
            connection.execute(pragma).fetchall()

    def begin(connection: Any) -> None:
        immediate = connection.get_execution_options().get("immediate")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    event.listen(reading, "connect", configure)
    event.listen(reading, "begin", begin)
    return reading, writing
