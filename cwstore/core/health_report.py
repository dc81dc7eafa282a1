"""What `health` tells. Loaded with the engine: a probe answers where nothing more can be loaded."""

from cwstore.core import publish
from cwstore.core.entity import dataclass

__all__ = ["HealthReport"]


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Whether a store can do its work; for a readiness probe."""

    problems: tuple[str, ...]  #: what is wrong and what to do; empty: it can
    seconds: float  #: that a read took
    disk_free_bytes: int | None  #: of the file's disk; None in memory, or not known
    wal_bytes: int | None  #: of the write-ahead log; None in memory

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


def without_a_look(problem: str) -> HealthReport:
    """What there is to tell where nothing can be looked at. Loads nothing."""
    report = object.__new__(HealthReport)
    told = {"problems": (problem,), "seconds": 0.0, "disk_free_bytes": None, "wal_bytes": None}
    for name, value in told.items():
        object.__setattr__(report, name, value)
    return report


publish(globals())
