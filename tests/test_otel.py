"""`cwstore.otel`: spans and metrics as OpenTelemetry's conventions want them, without a bind."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cwstore.errors import ConflictError, StoreClosedError
from cwstore.otel import instrument
from cwstore.store import Store
from tests.kits.database import open_async


class Collector:
    """What a backend would get."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self._metrics = InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.meters = MeterProvider([self._metrics])

    def watch(self, store: Any) -> None:
        instrument(store, tracer_provider=self.tracers, meter_provider=self.meters)

    def spans(self) -> Sequence[ReadableSpan]:
        found = self._spans.get_finished_spans()
        self._spans.clear()
        return found

    def metrics(self) -> dict[str, Any]:
        data = self._metrics.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        return {metric.name: metric for metric in scope.metrics}


@pytest.fixture
def collector() -> Collector:
    return Collector()


def test_each_statement_is_a_span_of_its_method_that_holds_no_bind(
    store: Store, engine: str, collector: Collector
) -> None:
    collector.watch(store)
    store.tasks.create(id="T", name="hush")
    (made,) = collector.spans()
    assert made.name == "tasks.create"
    assert made.kind is trace.SpanKind.CLIENT
    assert made.instrumentation_scope is not None
    assert made.instrumentation_scope.name == "cwstore"
    assert made.status.is_ok
    assert made.start_time is not None
    assert made.end_time is not None
    assert 0 < made.end_time - made.start_time < 60e9
    about = dict(made.attributes or {})
    text = about.pop("db.query.text")
    assert isinstance(text, str)
    assert text.startswith("INSERT INTO tasks")
    assert "hush" not in made.to_json()
    assert about == {
        "db.system.name": engine,
        "db.namespace": str(store.path),
        "db.operation.name": "INSERT",
        "db.collection.name": "tasks",
        "db.query.summary": "tasks.create",
        "db.response.returned_rows": 1,
    }


def test_a_transaction_is_told_when_it_begins_and_its_statements_after_it(
    store: Store, engine: str, collector: Collector
) -> None:
    collector.watch(store)
    with store.transaction():
        store.tasks.create(name="T")
    begun, made = collector.spans()
    assert (begun.name, made.name) == ("transaction", "tasks.create")
    assert dict(begun.attributes or {}) == {
        "db.system.name": engine,
        "db.namespace": str(store.path),
        "db.operation.name": "BEGIN",
        "db.query.summary": "transaction",
    }


def test_what_fails_is_told_with_the_class_of_its_error(store: Store, collector: Collector) -> None:
    store.tasks.create(id="T", name="hush")
    collector.watch(store)
    with pytest.raises(ConflictError):
        store.tasks.create(id="T", name="hush")
    (failed,) = collector.spans()
    assert failed.status.status_code is trace.StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "cwstore.ConflictError"
    assert "db.response.returned_rows" not in (failed.attributes or {})
    assert "hush" not in failed.to_json()
    tasks, transaction = store.tasks, store.transaction()
    store.close()
    with pytest.raises(StoreClosedError):
        tasks.find_all()
    with pytest.raises(StoreClosedError), transaction:
        pass
    assert [(span.name, (span.attributes or {})["error.type"]) for span in collector.spans()] == [
        ("tasks.find_all", "cwstore.StoreClosedError"),
        ("transaction", "cwstore.StoreClosedError"),
    ]


def test_durations_rows_and_waits_are_counted(
    store: Store, engine: str, collector: Collector
) -> None:
    collector.watch(store)
    store.tasks.create(name="One")
    store.tasks.create(name="Two")
    store.tasks.find_all()
    found = collector.metrics()
    assert {name: metric.unit for name, metric in found.items()} == {
        "db.client.operation.duration": "s",
        "db.client.response.returned_rows": "{row}",
        "cwstore.write_lock.wait": "s",
    }
    durations = {
        point.attributes["db.query.summary"]: point
        for point in found["db.client.operation.duration"].data.data_points
    }
    assert {name: point.count for name, point in durations.items()} == {
        "tasks.create": 2,
        "tasks.find_all": 1,
    }
    made = durations["tasks.create"]
    assert made.explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    assert made.attributes == {
        "db.system.name": engine,
        "db.namespace": str(store.path),
        "db.operation.name": "INSERT",
        "db.collection.name": "tasks",
        "db.query.summary": "tasks.create",
    }
    rows = {
        point.attributes["db.query.summary"]: point.sum
        for point in found["db.client.response.returned_rows"].data.data_points
    }
    assert rows == {"tasks.create": 2, "tasks.find_all": 2}
    (waits,) = found["cwstore.write_lock.wait"].data.data_points
    assert waits.count == 2


def test_a_span_belongs_to_the_one_that_is_open_where_the_method_is_called(
    store: Store, collector: Collector
) -> None:
    collector.watch(store)
    tracer = trace.get_tracer("service", tracer_provider=collector.tracers)
    with tracer.start_as_current_span("request"):
        store.tasks.find_all()
    inner, outer = collector.spans()
    assert inner.parent == outer.context


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_an_awaited_call_belongs_to_the_span_of_its_task(
    file: Path, collector: Collector, run: Any
) -> None:
    tracer = trace.get_tracer("service", tracer_provider=collector.tracers)

    async def play() -> None:
        async with await open_async(file) as store:
            collector.watch(store)
            with tracer.start_as_current_span("request"):
                await store.tasks.find_by_id("T")
                await store.tasks.find_all()
                await store.tasks.create(name="T")
                await store.initiatives.purge("none")
                await store.transaction(lambda tx: tx.tasks.create(name="T"))
                async for _ in store.log_chunks.iter_by_agent_id("A"):
                    pass
            store.on_statement(None)
            await store.tasks.find_all()

    run(play) if run is trio.run else run(play())
    *inner, outer = collector.spans()
    assert {span.name for span in inner} == {
        "tasks.find_by_id",
        "tasks.find_all",
        "tasks.create",
        "initiatives.purge",
        "transaction",
        "log_chunks.iter_by_agent_id",
    }
    assert [span.parent for span in inner] == [outer.context] * len(inner)


@pytest.mark.only_sqlite
def test_nothing_of_opentelemetry_is_loaded_unless_it_is_asked_for(file: Path) -> None:
    script = """
import sys
import cwstore
with cwstore.Store.open(sys.argv[1]) as store:
    store.on_statement(print)
    store.tasks.find_all()
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    subprocess.run([sys.executable, "-c", script, str(file)], check=True, timeout=60)
