"""Write an initiative, with all that hangs on it, as lines: see `format`."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from cwstore._transfer.format import end_line, head_line, row_line
from cwstore._transfer.selects import FIND_LOG_CHUNKS, SELECTS
from cwstore.core.faults import no_row

if TYPE_CHECKING:
    from cwstore.core.port import Snapshot


def export_lines(
    open_snapshot: "Callable[[], AbstractContextManager[Snapshot]]",
    initiative_id: str,
    version: int,
    *,
    logs: bool,
) -> Iterator[str]:
    """See `Store.export_initiative`."""
    with open_snapshot() as db:
        owner = db.fetch_one(SELECTS["initiatives"], initiative_id=initiative_id)
        if owner is None:
            raise no_row("initiatives", initiative_id)
        yield head_line(owner.id, owner.name, version)
        rows = 0
        agents: list[str] = []
        for table in SELECTS:
            for row in db.iterate(SELECTS[table], initiative_id=initiative_id):
                yield row_line(table, row)
                rows += 1
                if logs and table == "agents":
                    agents.append(row.id)
        for agent_id in agents:
            for row in db.iterate(FIND_LOG_CHUNKS, agent_id=agent_id):
                yield row_line("agent_log_chunks", row)
                rows += 1
        yield end_line(rows)
