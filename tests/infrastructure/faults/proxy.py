"""A proxy before PostgreSQL that cuts a connection where it hurts: around the commit.

It can fall silent, too: connections stand, and nothing comes through any more.

It reads the frontend protocol, version 3: a message is a letter, a length and a body. Connections
through it must not be encrypted (`sslmode=disable&gssencmode=disable`).
"""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from threading import Event, Lock, Thread
from time import sleep
from typing import Final
from urllib.parse import urlsplit

AT_ONCE: Final = (b"append_exact(", b"-- Keeps snapshots")
"""What tells the statements that are a transaction each: the fast path, and that of snapshots."""


class Cut(Enum):
    """Where to cut; the server either never gets the last message, or its reply is swallowed."""

    COMMIT_LOST = "before the server got COMMIT"
    COMMIT_UNANSWERED = "after COMMIT, before its reply reached the client"
    APPEND_LOST = "before the server got the Sync of the fast append"
    APPEND_UNANSWERED = "after the fast append, before its reply reached the client"


class Silence(Enum):
    """What is held back while all connections stand."""

    REQUESTS = "before the server got anything more"
    ANSWERS = "after the server got all, before its answers reached the client"


_AT_COMMIT: Final = (Cut.COMMIT_LOST, Cut.COMMIT_UNANSWERED)


class Proxy:
    """Listens on loopback. `struck` counts the cuts that were really made, by kind.

    Before each message of the server it waits for `pause_seconds`, and no more where that is 0.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._server = (parts.hostname or "localhost", parts.port or 5432)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = Lock()
        self._next: Cut | None = None
        self._passing = {each: Event() for each in Silence}
        self.speak()
        self._sessions: list[_Session] = []
        self.struck: Counter[Cut] = Counter()
        self.pause_seconds = 0.0
        login = parts.netloc.rpartition("@")[0]
        here = f"{login}@127.0.0.1:{self._listener.getsockname()[1]}"
        query = "sslmode=disable&gssencmode=disable"
        self.url = parts._replace(netloc=here, query=query).geturl()
        Thread(target=self._accept, daemon=True).start()

    def cut_next(self, cut: Cut) -> None:
        """Cut the next connection that comes to where `cut` says; once."""
        with self._lock:
            self._next = cut

    def take(self, *wanted: Cut) -> Cut | None:
        """Return the cut that is due if it is one of `wanted`; it is due no longer."""
        with self._lock:
            cut = self._next if self._next in wanted else None
            if cut:
                self._next = None
            return cut

    def count(self, cut: Cut) -> None:
        with self._lock:
            self.struck[cut] += 1

    def fall_silent(self, silence: Silence) -> None:
        """Hold back from now on, on all connections, those to come included."""
        self._passing[silence].clear()

    def speak(self) -> None:
        """Hold back nothing any more."""
        for passing in self._passing.values():
            passing.set()

    def wait(self, silence: Silence) -> None:
        """Return once what is asked for is not held back."""
        self._passing[silence].wait()

    def close(self) -> None:
        """Take no more connections, and cut those that clients have left behind."""
        self._listener.close()
        for session in self._sessions:
            session.cut()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._sessions.append(_Session(self, client, server))


class _Session:
    """One connection of a client, and the one to the server that stands for it."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._appends: set[bytes] = set()
        self._appending = False
        self._swallowing: Cut | None = None
        for end in (client, server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for work in (self._towards_server, self._towards_client):
            Thread(target=self._until_cut, args=(work,), daemon=True).start()

    def _until_cut(self, work: Callable[[], None]) -> None:
        try:
            with suppress(OSError, EOFError):
                work()
        finally:
            self.cut()

    def _towards_server(self) -> None:
        startup = _startup(self._client)
        self._proxy.wait(Silence.REQUESTS)
        self._server.sendall(startup)
        for kind, body, message in _messages(self._client):
            cut = self._due(kind, body)
            if cut in (Cut.COMMIT_LOST, Cut.APPEND_LOST):
                self._proxy.count(cut)
                return
            self._swallowing = self._swallowing or cut
            self._proxy.wait(Silence.REQUESTS)
            self._server.sendall(message)

    def _due(self, kind: bytes, body: bytes) -> Cut | None:
        """Return the cut that is to be made at this message."""
        match kind:
            case b"P" if any(mark in body for mark in AT_ONCE):
                self._appends.add(body.partition(b"\0")[0])
            case b"B":
                self._appending = body.split(b"\0", 2)[1] in self._appends
            case b"Q" if body == b"COMMIT\0":
                return self._proxy.take(*_AT_COMMIT)
            case b"S" if self._appending:
                self._appending = False
                return self._proxy.take(Cut.APPEND_LOST, Cut.APPEND_UNANSWERED)
        return None

    def _towards_client(self) -> None:
        completed = False
        for kind, _, message in _messages(self._server):
            if self._proxy.pause_seconds:
                sleep(self._proxy.pause_seconds)
            self._proxy.wait(Silence.ANSWERS)
            if self._swallowing is None:
                self._client.sendall(message)
                continue
            completed |= kind == b"C"
            if kind == b"Z":  # the server is done, and ready for the next
                if completed:
                    self._proxy.count(self._swallowing)
                return

    def cut(self) -> None:
        """Close both ends."""
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def _startup(client: socket.socket) -> bytes:
    length = _exactly(client, 4)
    return length + _exactly(client, int.from_bytes(length, "big") - 4)


def _messages(source: socket.socket) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield kind, body and the whole of each message."""
    while True:
        head = _exactly(source, 5)
        body = _exactly(source, int.from_bytes(head[1:], "big") - 4)
        yield head[:1], body, head + body


def _exactly(source: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        some = source.recv(size - len(received))
        if not some:
            raise EOFError
        received += some
    return bytes(received)


@contextmanager
def proxy(server: str) -> Iterator[Proxy]:
    """Run a proxy before the server at `server`."""
    running = Proxy(server)
    try:
        yield running
    finally:
        running.speak()
        running.close()
