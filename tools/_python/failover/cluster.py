"""Three nodes of PostgreSQL under Patroni, and one etcd, on loopback. A node can be killed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event
from typing import Any, cast

from tools._python.failover.settings import settings_of
from tools._python.postgres import as_somebody, binaries

_LONGEST_WAIT = 180.0  # seconds, for what must happen by itself
# Patroni stops its server when it is told to end, and it is told so when this process has ended.
_END_WITH_US = ["setpriv", "--pdeathsig", "TERM"]


class Node:
    """One machine: Patroni, and the PostgreSQL that it runs."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.port = free_port()
        self.api_port = free_port()
        self.directory = directory / name
        self.process: subprocess.Popen[bytes] | None = None

    def told(self) -> dict[str, Any]:
        """What its Patroni says of it; empty: it does not answer."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.api_port}/patroni", timeout=2
            ) as answer:
                return cast("dict[str, Any]", json.load(answer))
        except OSError as error:  # 503 is an answer too: it has no server, or that is starting
            with suppress(OSError, ValueError, AttributeError):
                return cast("dict[str, Any]", json.load(cast(Any, error)))
            return {}

    def servers(self) -> list[int]:
        """The processes of its PostgreSQL, the postmaster first."""
        try:
            text = (self.directory / "data" / "postmaster.pid").read_text(encoding="ascii")
        except OSError:
            return []
        first = int(text.split()[0])
        return [first, *(pid for pid, parent in _parents() if parent == first)]

    def cut_off(self) -> None:
        """Let none of its log reach another node, as when its network fails."""
        for pid in self.servers():
            if "walsender" in _command(pid):
                os.kill(pid, signal.SIGSTOP)

    def kill(self) -> None:
        """All at once, as when the power fails."""
        assert self.process is not None
        for pid in (self.process.pid, *self.servers()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None


class Cluster:
    """The nodes. Leave it, and none of its processes is left."""

    def __init__(self, directory: Path, *, synchronous: bool) -> None:
        programs = binaries()
        directory.chmod(0o755)
        self._directory = directory
        self._programs = programs
        self._before, self._options = as_somebody(
            directory, programs / "postgres", Path(sys.executable)
        )
        self._synchronous = synchronous
        self._etcd_port = free_port()
        self._stack = ExitStack()
        self.nodes = [Node(f"node{number}", directory) for number in (1, 2, 3)]
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        self.address = f"postgresql://cwstore@{hosts}/postgres?target_session_attrs=read-write"

    def __enter__(self) -> "Cluster":
        try:
            self._start_etcd()
            for node in self.nodes:
                self.start(node)
            self.wait_until_whole()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            if node.process is not None:
                node.kill()
        self._stack.close()

    def start(self, node: Node) -> None:
        """Start a node, a killed one again: Patroni makes it follow whoever leads."""
        node.directory.mkdir(exist_ok=True)
        text = settings_of(node, self._etcd_port, self._programs, synchronous=self._synchronous)
        config = node.directory / "patroni.json"  # what is JSON is YAML, too
        config.write_text(text, encoding="utf-8")
        if self._options:
            os.chown(node.directory, self._options["user"], self._options["group"])
        node.process = self._run(
            [sys.executable, "-P", "-m", "patroni", config], node.directory / "patroni.log"
        )

    def leader(self) -> Node:
        """Who leads; waits for it."""

        def look() -> Node | None:
            return next((node for node in self.nodes if _leads(node.told())), None)

        return cast(Node, wait_for(look, "a leader"))

    def switch_over(self) -> None:
        """Let another node lead, as before an upgrade of the one that leads."""
        leader = self.leader()
        request = urllib.request.Request(
            f"http://127.0.0.1:{leader.api_port}/switchover",
            data=json.dumps({"leader": leader.name}).encode(),
            headers={"Content-Type": "application/json"},
        )

        def ask() -> bool:
            try:
                with urllib.request.urlopen(request, timeout=_LONGEST_WAIT):
                    return True
            except urllib.error.HTTPError:  # the other two are not known to be ready yet
                return False

        wait_for(ask, "a planned change of the leader")

    def wait_until_whole(self) -> None:
        """Until one leads and two follow it, and in synchronous mode one of these confirms."""
        wait_for(self._is_whole, f"the three nodes (their logs are in {self._directory})")

    def _is_whole(self) -> bool:
        told = {node.name: node.told() for node in self.nodes}
        nobody: dict[str, Any] = {}
        leader = next((one for one in told.values() if _leads(one)), nobody)
        # A copy that is being made counts as a follower, too, under another name.
        confirms = {
            one["application_name"]: one["sync_state"]
            for one in leader.get("replication", ())
            if one["application_name"] in told and one["state"] == "streaming"
        }
        return len(confirms) == len(self.nodes) - 1 and (
            not self._synchronous or "sync" in confirms.values()
        )

    def _start_etcd(self) -> None:
        program = shutil.which("etcd")
        if program is None:
            sys.exit("tools/failover: there is no etcd; Debian's package is etcd-server")
        peers = f"http://127.0.0.1:{free_port()}"
        clients = f"http://127.0.0.1:{self._etcd_port}"
        command = [
            *(program, "--data-dir", self._directory / "etcd"),
            *("--listen-client-urls", clients, "--advertise-client-urls", clients),
            *("--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers),
            *("--initial-cluster", f"default={peers}"),
        ]
        etcd = self._run(command, self._directory / "etcd.log")
        self._stack.callback(etcd.wait)
        self._stack.callback(etcd.kill)

    def _run(self, command: list[Any], log: Path) -> "subprocess.Popen[bytes]":
        with log.open("ab") as out:
            return subprocess.Popen[bytes](
                [*self._before, *_END_WITH_US, *command],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                **self._options,
            )


def wait_for(look: "Callable[[], Any]", what: str) -> Any:
    """What `look` gives once that is not None or False. Raises TimeoutError."""
    end = time.monotonic() + _LONGEST_WAIT
    while time.monotonic() < end:
        if found := look():
            return found
        Event().wait(0.1)
    raise TimeoutError(f"waited {_LONGEST_WAIT:.0f} s for {what}")


def free_port() -> int:
    """A port of loopback that nobody uses just now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _leads(told: dict[str, Any]) -> bool:
    return told.get("role") in ("primary", "master") and told.get("state") == "running"


def _parents() -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):  # it has just ended
                text = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                yield int(entry.name), int(text.rpartition(")")[2].split()[1])


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
