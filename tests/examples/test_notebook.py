"""A notebook with pandas: one line reads a table, another makes times of stamps."""

from datetime import UTC
from importlib import import_module
from typing import Any

from cwstore import Store

pandas: Any = import_module("pandas")  # it has no types of its own


def test_pandas_reads_a_query_in_one_line(store: Store) -> None:
    for name in "ab":
        store.tasks.create(name=name)
    frame = pandas.DataFrame(store.query("SELECT name, created_at FROM tasks ORDER BY name"))
    assert list(frame["name"]) == ["a", "b"]
    created = pandas.to_datetime(frame["created_at"], unit="us", utc=True)
    assert created[0].to_pydatetime() == store.tasks.find_all()[0].created_at
    assert created.dt.tz == UTC
