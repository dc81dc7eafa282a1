"""Calls that must be type errors: for type checkers only.

Each line names the errors that it must have; one that is missing makes its comment an error.
"""

from datetime import datetime
from typing import assert_type

from cwstore import Task, TaskPriority, TaskStatus, TaskType
from cwstore.core.repository import Async, Sync
from cwstore.core.statement import rows_of, values_of
from cwstore.entities.initiatives import Initiative, InitiativeStatus
from cwstore.entities.projects import ProjectRepository
from cwstore.entities.tasks import TaskRepository


def patches(
    tasks: TaskRepository[Sync], projects: ProjectRepository[Sync], now: datetime, text: str
) -> None:
    tasks.update("id", nmae="misspelt")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tasks.update("id", name=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.update("id", description=None)
    tasks.update("id", phase_id="owner")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tasks.update("id", created_at=now)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tasks.update("id", sort_order="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.update("id", now)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tasks.update("id", status=TaskStatus.PENDING)
    tasks.update("id", status="pending")
    tasks.update("id", status=TaskPriority.HIGH)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.update("id", status="pendng")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.update("id", status=text)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.update("id", status=TaskStatus(text))
    tasks.update("id", status=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.update("id", if_updated_at="now")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    projects.update("id", last_fetched_at="now")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    projects.update("id", last_fetched_at=now)


def calls(tasks: TaskRepository[Sync]) -> None:
    tasks.create()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tasks.create("name")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tasks.create(name=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.create(name="x", sort_order=1.5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.create(name="x", type="auto", priority="low")
    tasks.create(name="x", priority=TaskStatus.PENDING)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.find_ready(types=["auto", TaskType.CHECKPOINT_DECISION])
    tasks.find_ready(types=[TaskStatus.PENDING])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    tasks.create(name="x", status=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.find_by_id(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    print(tasks.find_by_id("id").name)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    tasks.find_all(offset=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tasks.find_all(after=1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.move("id", name="x")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    tasks.no_such_method()  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


async def faces(called: TaskRepository[Sync], awaited: TaskRepository[Async]) -> None:
    await called.find_all()  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]
    for _ in awaited.find_all():  # type: ignore[attr-defined]  # pyright: ignore[reportGeneralTypeIssues]
        pass
    tasks: list[Task] = awaited.find_all()  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    print(tasks)


def entities(task: Task) -> None:
    task.name = "changed"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    print(task.parent)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]
    status: InitiativeStatus = task.status  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    assert_type(status, TaskStatus)  # type: ignore[assert-type]  # pyright: ignore[reportAssertTypeFailure]


def texts(table: str) -> None:
    rows_of(Initiative)(f"SELECT * FROM {table}")  # pyright: ignore[reportArgumentType]
    values_of(int, Initiative)("SELECT 1")
