"""Spans and metrics of a store, by OpenTelemetry's conventions for database clients.

The extra `cwstore[otel]` brings its API. What they are sent to is set up by the application, as for
any other library.
"""

from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics, trace

from cwstore import __version__
from cwstore.core.faults import table_of

if TYPE_CHECKING:
    from cwstore.aio.database import AsyncDatabase
    from cwstore.core.database import Database
    from cwstore.core.observed import StatementRun

_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)  # as the conventions say
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)


def instrument(
    store: "Database | AsyncDatabase",
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
) -> None:
    """Make a span for each statement that repositories run, and count durations, rows and waits.

    The span is called as the method, such as `tasks.claim_next_ready`, and belongs to the span that
    is open where the method was called. No bind is in it. It takes the place of the listener:
    `store.on_statement(None)` ends it. None stands for the provider of the process.
    """
    telemetry = _Telemetry(str(store.path), tracer_provider, meter_provider)
    store.on_statement(telemetry.tell)


class _Telemetry:
    """Where the statements of one store are told."""

    def __init__(
        self,
        namespace: str,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
    ) -> None:
        system = "postgresql" if namespace.startswith(("postgresql:", "postgres:")) else "sqlite"
        self._store = {"db.system.name": system, "db.namespace": namespace}
        self._tracer = trace.get_tracer("cwstore", __version__, tracer_provider)
        meter = metrics.get_meter("cwstore", __version__, meter_provider)
        self._durations = meter.create_histogram(
            "db.client.operation.duration",
            "s",
            "Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._rows = meter.create_histogram(
            "db.client.response.returned_rows",
            "{row}",
            "The number of rows that an operation returned, or changed.",
            explicit_bucket_boundaries_advisory=_ROWS,
        )
        self._waits = meter.create_histogram(
            "cwstore.write_lock.wait",
            "s",
            "How long a transaction waited for the write lock.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )

    def tell(self, run: "StatementRun") -> None:
        """Note a statement that has run."""
        ended = time_ns()
        about: dict[str, Any] = self._store | {
            "db.operation.name": run.sql.split(None, 1)[0].upper() if run.sql else "BEGIN",
            "db.query.summary": run.name,
        }
        if run.sql:
            about["db.collection.name"] = table_of(run.sql)
        if run.error is not None:
            about["error.type"] = f"cwstore.{run.error}"
        self._durations.record(run.seconds, about)
        if run.wait:
            self._waits.record(run.wait, self._store)
        if run.sql and run.error is None:
            self._rows.record(run.rows, about)
            about["db.response.returned_rows"] = run.rows
        if run.sql:
            about["db.query.text"] = run.sql
        started = ended - int(run.seconds * 1e9)
        kind = trace.SpanKind.CLIENT
        span = self._tracer.start_span(run.name, kind=kind, attributes=about, start_time=started)
        if run.error is not None:
            span.set_status(trace.StatusCode.ERROR)
        span.end(ended)
