"""Connections that do not wait for ever for a server of which nothing is heard.

A server that is at work may take its time, for a lock or a long statement, and says nothing
meanwhile. So whoever has heard nothing for long asks on another connection whether it is.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import psycopg
from psycopg import waiting
from psycopg.abc import PQGen
from psycopg.errors import OperationalError

from refold.domain.errors import Unavailable

LAST_LOOK_SECONDS: Final = 0.2
"""How long an answer may take that was on its way when the server was asked."""

_INTERVAL: Final = 0.1
_AT_WORK: Final = b"SELECT state NOT LIKE 'idle%%' FROM pg_stat_activity WHERE pid = %s"
"""A transaction that waits for its next statement is idle, too."""

T = TypeVar("T")


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is closed when nothing was heard for `silent_seconds`; None is for ever.

    It is not where the server, asked by `ask`, says that it is at work. Then, and after as long
    again, it is asked anew.
    """

    silent_seconds: float | None = None
    ask: "Callable[[], Asking]"

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL, timeout: float | None = None) -> T:
        """Wait as the driver does. Raises `OperationalError` when nothing is heard."""
        if timeout is not None or self.silent_seconds is None:
            return super().wait(gen, interval, timeout)
        is_last_look, heard = False, list[object]()
        while True:
            try:
                seconds = LAST_LOOK_SECONDS if is_last_look else self.silent_seconds
                return super().wait(gen, interval, seconds)
            except psycopg.errors._WaitTimeout as error:
                if is_last_look and not heard:
                    self.pgconn.finish()
                    raise OperationalError("the server is silent") from error
            is_last_look = not heard and not self._is_at_work()
            heard.clear()
            gen = _resumed(gen, heard)

    def _is_at_work(self) -> bool:
        try:
            with self.ask() as other:
                found = other.execute(_AT_WORK, (self.pgconn.backend_pid,)).fetchone()
        except (psycopg.Error, Unavailable):
            return False
        return bool(found and found[0])


class Asking(psycopg.Connection[tuple[Any, ...]]):
    """A connection whose answers come within seconds, or not at all."""

    seconds: float = 10.0

    def wait(self, gen: PQGen[T], interval: float = _INTERVAL, timeout: float | None = None) -> T:
        """Wait as the driver does, but not for ever."""
        return super().wait(gen, interval, self.seconds if timeout is None else timeout)


def _resumed(gen: PQGen[T], heard: list[object]) -> PQGen[T]:
    """Return what goes on with a wait that was given up: it begins with nothing being ready.

    What is ready later is added to `heard`: a long answer may be on its way for long.
    """
    state = gen.send(waiting.READY_NONE)
    while True:
        ready = yield state
        if ready:
            heard.append(ready)
        try:
            state = gen.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result
