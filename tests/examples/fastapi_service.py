"""A FastAPI service on an AsyncStore: lifespan, dependency, errors to HTTP, SSE from the feed.

CWSTORE_PATH=walk.db uvicorn tests.examples.fastapi_service:app --workers 2
    --timeout-graceful-shutdown 3

Without that time uvicorn waits, when it is stopped, until the last client of `/events` has gone.
"""

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from cwstore import (
    AsyncStore,
    BusyError,
    ConflictError,
    ConflictReason,
    CwstoreError,
    CycleError,
    InvalidValueError,
    MissingReferenceError,
    NotFoundError,
    Task,
    TaskPatch,
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """One store for each worker process, opened in the loop that serves."""
    async with await AsyncStore.open(os.environ["CWSTORE_PATH"]) as store:
        app.state.store = store
        yield


app = FastAPI(lifespan=lifespan)


def store_of(request: Request) -> AsyncStore:
    """The store of this process."""
    store: AsyncStore = request.app.state.store
    return store


AStore = Annotated[AsyncStore, Depends(store_of)]


def status_of(error: CwstoreError) -> int:
    """HTTP's word for an error of cwstore. Nothing has to be parsed for it."""
    match error:
        case NotFoundError():
            return 404
        case ConflictError(reason=ConflictReason.STALE):
            return 412
        case ConflictError() | CycleError():
            return 409
        case InvalidValueError() | MissingReferenceError():
            return 422
        case BusyError():
            return 503
        case _:
            return 500


@app.exception_handler(CwstoreError)
async def tell(_request: Request, error: CwstoreError) -> JSONResponse:
    """Answer with the kind of the error, its words, and the field where there is one."""
    headers = {"Retry-After": "1"} if isinstance(error, BusyError) else None
    body = {
        "error": type(error).__name__,
        "detail": str(error),
        "field": getattr(error, "field", None),
    }
    return JSONResponse(body, status_code=status_of(error), headers=headers)


class TaskIn(BaseModel):
    """What a client gives for a new task."""

    name: str
    phase_id: str | None = None


@app.post("/tasks", status_code=201)
async def create_task(store: AStore, task: TaskIn) -> Task:
    """Rows are response models as they are."""
    return await store.tasks.create(name=task.name, phase_id=task.phase_id)


@app.get("/tasks/{task_id}")
async def get_task(store: AStore, task_id: str) -> Task:
    """The task, or 404."""
    return await store.tasks.get(task_id)


@app.patch("/tasks/{task_id}")
async def change_task(
    store: AStore,
    task_id: str,
    patch: TaskPatch,
    if_match: Annotated[str | None, Header()] = None,
) -> Task:
    """Change it, if nobody has changed it since the client read it. A patch is a body as it is."""
    seen = None if if_match is None else (await store.tasks.get(task_id)).updated_at
    if if_match is not None and seen is not None and seen.isoformat() != if_match:
        raise ConflictError("the task was changed meanwhile", reason=ConflictReason.STALE)
    return await store.tasks.update(task_id, if_updated_at=seen, **patch)


@app.post("/claims")
async def claim(store: AStore) -> Task | None:
    """The next ready task, for one of all that ask, whatever process serves them."""
    return await store.tasks.claim_next_ready()


@app.get("/events")
async def events(store: AStore) -> StreamingResponse:
    """The changes as server-sent events, until the client goes."""
    feed = await store.changes()

    async def lines() -> AsyncIterator[str]:
        async with feed:
            yield ": listening\n\n"
            async for change in feed:
                data = {"table": change.table, "id": change.id}
                yield f"event: {change.operation.value}\ndata: {json.dumps(data)}\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")
