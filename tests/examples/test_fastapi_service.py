"""The FastAPI example, served for real: two worker processes of uvicorn on one file."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from cwstore import (
    BusyError,
    ConflictError,
    ConflictReason,
    CorruptDatabaseError,
    CwstoreError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
    Store,
)
from tests.examples.fastapi_service import status_of

OPTIONS = ("--workers", "2", "--port", "0", "--no-access-log", "--timeout-graceful-shutdown", "1")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "walk.db"


@pytest.fixture
def client(file: Path) -> Iterator[httpx.Client]:
    server = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "tests.examples.fastapi_service:app", *OPTIONS],
        cwd=ROOT,
        env={**os.environ, "CWSTORE_PATH": str(file)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr
    address = ""
    started = 0
    while started < 2:
        line = server.stderr.readline()
        assert line, "the server ended"
        found = re.search(r"running on (http://[0-9.:]+)", line)
        address = found.group(1) if found else address
        started += "Application startup complete" in line
    with httpx.Client(base_url=address, timeout=60) as client:
        yield client
        # A client that listens still does not keep it from stopping.
        server.send_signal(signal.SIGINT)
        _, told = server.communicate(timeout=60)
    assert server.returncode == 0
    assert told.count("Application shutdown complete") == 2


def test_it_serves_rows_errors_and_events_from_two_processes(
    client: httpx.Client, file: Path
) -> None:
    made = client.post("/tasks", json={"name": "a"})
    assert (made.status_code, made.json()["status"]) == (201, "pending")
    task = made.json()
    assert client.get(f"/tasks/{task['id']}").json() == task
    missing = client.get("/tasks/none")
    assert (missing.status_code, missing.json()["error"]) == (404, "NotFoundError")
    refused = client.post("/tasks", json={"name": ""})
    assert (refused.status_code, refused.json()["field"]) == (422, "name")
    refused = client.post("/tasks", json={"name": "b", "phase_id": "none"})
    assert (refused.status_code, refused.json()["error"]) == (422, "MissingReferenceError")
    stale = client.patch(
        f"/tasks/{task['id']}", json={"status": "blocked"}, headers={"If-Match": "long ago"}
    )
    assert stale.status_code == 412
    changed = client.patch(f"/tasks/{task['id']}", json={"summary": "s"})
    assert (changed.json()["summary"], changed.json()["status"]) == ("s", "pending")
    assert client.patch(f"/tasks/{task['id']}", json={"status": "nope"}).status_code == 422
    with Store.open(file) as store:
        store.tasks.create_many({"name": f"t{number}"} for number in range(9))
    claimed = [client.post("/claims").json() for _ in range(11)]
    assert sorted(one["name"] for one in claimed if one) == ["a", *(f"t{n}" for n in range(9))]
    assert claimed[-1] is None

    events = client.send(client.build_request("GET", "/events"), stream=True)
    lines = (line for line in events.iter_lines() if line)
    assert next(lines) == ": listening"
    with Store.open(file) as store:  # as another process of the service would
        store.tasks.create(name="seen", id="seen")
    assert next(lines) == "event: insert"
    assert json.loads(next(lines).removeprefix("data: ")) == {"table": "tasks", "id": "seen"}


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("gone"), 404),
        (ConflictError("late", reason=ConflictReason.STALE), 412),
        *((ConflictError("no", reason=one), 409) for one in ConflictReason if one != "stale"),
        (CycleError("ring"), 409),
        (InvalidValueError("name", "must not be empty"), 422),
        (MissingReferenceError("no such phase", field="phase_id"), 422),
        (BusyError("busy"), 503),
        (CorruptDatabaseError("damaged"), 500),
    ],
)
def test_each_error_has_its_status(error: CwstoreError, status: int) -> None:
    assert status_of(error) == status
