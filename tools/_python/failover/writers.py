"""Processes that write through cwstore, and note what they were told."""

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from threading import Event
from typing import Any

from cwstore import OutcomeUnknownError, Store
from cwstore.errors import ConflictError, CwstoreError, StorageError
from tools._python.failover.counts import Told


def write(address: str, agent_id: str, last: Any, pipe: "Connection[Told, None]") -> None:
    """Create, claim and complete tasks until something comes through the pipe; send what was told.

    `last` gets the time of the newest acknowledged write.
    """
    told = Told(agent_id)
    with Store.open(address, busy_timeout=10) as store:
        number = 0
        while not pipe.poll():
            number += 1
            _one_task(store, told, f"{agent_id}-{number}", last)
    pipe.send(told)


def _one_task(store: Store, told: Told, task_id: str, last: Any) -> None:
    if not _told(told, lambda: store.tasks.create(id=task_id, name=task_id), task_id):
        Event().wait(0.1)  # the server is away
        return
    told.created.append(task_id)
    last.value = time.monotonic()
    claimed = _told(told, lambda: store.tasks.claim_next_ready(agent_id=told.agent_id))
    if claimed is None:
        return
    told.claimed.append(claimed.id)
    if _told(told, lambda: store.tasks.complete(claimed.id, agent_id=told.agent_id)):
        told.completed.append(claimed.id)
        last.value = time.monotonic()


def _told(told: Told, call: Callable[[], Any], creates: str | None = None) -> Any:
    """What the call gave; None if it failed, and then that is noted."""
    try:
        return call()
    except OutcomeUnknownError:
        told.unknown += 1
    except ConflictError:  # what this agent completed without being told so
        told.refused += 1
    except StorageError:
        told.refused += 1
        if creates is not None:
            told.never_made.append(creates)
    except CwstoreError as error:
        told.others.append(f"{type(error).__name__}: {error}")
    return None
