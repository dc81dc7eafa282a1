"""Checks of what a caller gives to `Store.open`, `migrate` and the like."""

from threading import TIMEOUT_MAX

from cwstore.core.checks import is_number
from cwstore.errors import InvalidValueError


def check_flags(**flags: object) -> None:
    """Raise InvalidValueError for the first one that is no bool."""
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise InvalidValueError(name, f"expected bool, got {type(value).__name__}")


def check_progress(on_progress: object) -> None:
    """Raise InvalidValueError unless it is None or can be called."""
    if on_progress is not None and not callable(on_progress):
        raise InvalidValueError("on_progress", "expected a callable that takes a Progress")


def check_busy_timeout(busy_timeout: object) -> float:
    """The seconds as a float. Raises InvalidValueError unless it is a finite number, at least 0."""
    if not is_number(busy_timeout):
        raise InvalidValueError(
            "busy_timeout", f"expected seconds as a number, got {type(busy_timeout).__name__}"
        )
    if not 0 <= busy_timeout < float("inf"):
        raise InvalidValueError("busy_timeout", "must be a finite number of seconds, at least 0")
    return float(min(busy_timeout, TIMEOUT_MAX))  # an int may be too large for a float
