"""Log lines, to the logger `cwstore`: never a bind, never a secret.

Importing `logging` takes 12 ms. A process that has not imported it has nobody who listens.
"""

import sys

INFO, WARNING, ERROR = 20, 30, 40  # as in `logging`


def log(level: int, text: str, *values: object) -> None:
    """Log a line, with `%` marks for the values."""
    logging = sys.modules.get("logging")
    if logging is None:
        return
    logger = logging.getLogger("cwstore")
    if not logger.handlers:
        # Without a handler of its own a warning would go to standard error, set up or not.
        logger.addHandler(logging.NullHandler())
    logger.log(level, text, *values)
