"""A proxy on loopback between stores and their server: it cuts connections at a chosen message."""

import os
import select
import socket
import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from threading import Thread
from urllib.parse import parse_qs, urlsplit

ASKED, ANSWERED = "asked", "answered"


class Proxy:
    """Passes whole messages on, and counts them, over all connections."""

    def __init__(self, address: str) -> None:
        split = urlsplit(address)
        given = {name: value for name, (value,) in parse_qs(split.query).items()}
        self._server = f"{given['host']}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        #: Where the same database is reached through it.
        self.address = (
            f"postgresql://{given['user']}@127.0.0.1:{port}{split.path}"
            "?sslmode=disable&gssencmode=disable"
        )
        self.passed = {ASKED: 0, ANSWERED: 0}
        self.has_cut = False
        #: The server processes of the connections that were cut.
        self.cut: list[int] = []
        self._side, self._at = "", 0
        self._wake, self._woken = os.pipe()
        self._pairs: list[_Pair] = []
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def cut_at(self, side: str, number: int) -> None:
        """Cut every connection instead of passing on message `number`, counted from now on."""
        self.passed = {ASKED: 0, ANSWERED: 0}
        self.has_cut = False
        self.cut.clear()
        self._side, self._at = side, number

    def heal(self) -> None:
        """Cut nothing any more."""
        self._side = ""

    def may_pass(self, side: str) -> bool:
        """Count a message; False: it is the one at which all is cut."""
        number = self.passed[side]
        self.passed[side] = number + 1
        return side != self._side or number != self._at

    def _run(self) -> None:
        while True:
            watched = [one for pair in self._pairs for one in (pair.client, pair.server)]
            ready, _, _ = select.select([self._listener, self._wake, *watched], [], [])
            if self._wake in ready:
                return
            if self._listener in ready:
                self._pairs.append(_Pair(self._listener.accept()[0], self._server))
                continue
            for pair in self._pairs:
                self._serve(pair, ready)
            self._pairs = [pair for pair in self._pairs if not pair.closed]

    def _serve(self, pair: "_Pair", ready: Sequence[object]) -> None:
        """Pass on what has come."""
        for side, source, target in pair.ways():
            if source not in ready or pair.closed:
                continue
            for message in pair.messages(side, source):
                if not message:
                    pair.close()
                    break
                if not self.may_pass(side):
                    self.cut += [one.process for one in self._pairs if one.process]
                    self.has_cut = True
                    for one in self._pairs:
                        one.close()
                    break
                with suppress(OSError):
                    target.sendall(message)

    def close(self) -> None:
        os.write(self._woken, b"x")
        self._thread.join()
        for pair in self._pairs:
            pair.close()
        self._listener.close()
        os.close(self._wake)
        os.close(self._woken)


class _Pair:
    """A connection of a client, and the one to the server for it."""

    def __init__(self, client: socket.socket, server: str) -> None:
        self.client = client
        # Else each small message waits 40 ms for the answer to the one before.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server = socket.socket(socket.AF_UNIX)
        self.server.connect(server)
        self._left = {ASKED: b"", ANSWERED: b""}
        self._begun = False  # the first message of a client has no type
        self.process = 0  # of the server; 0: it has not told it yet
        self.closed = False

    def ways(self) -> list[tuple[str, socket.socket, socket.socket]]:
        return [(ASKED, self.client, self.server), (ANSWERED, self.server, self.client)]

    def messages(self, side: str, source: socket.socket) -> Generator[bytes, None, None]:
        """The whole messages that have come; b"": the end."""
        try:
            data = source.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            yield b""
            return
        left = self._left[side] + data
        while True:
            typed = int(side == ANSWERED or self._begun)
            if len(left) < typed + 4:
                break
            (size,) = struct.unpack_from("!i", left, typed)
            if len(left) < typed + size:
                break
            message, left = left[: typed + size], left[typed + size :]
            self._begun = self._begun or side == ASKED
            if side == ANSWERED and message[:1] == b"K":
                (self.process,) = struct.unpack_from("!i", message, 5)
            yield message
        self._left[side] = left

    def close(self) -> None:
        self.closed = True
        self.client.close()
        self.server.close()


@contextmanager
def proxy_to(address: str) -> Generator[Proxy, None, None]:
    """Between stores and the server of this address."""
    proxy = Proxy(address)
    try:
        yield proxy
    finally:
        proxy.close()
