"""The daemon: folds, seals and ends expired sessions, so that nobody who reads has to wait for it.

Several may run on one store: folding stands behind a fence, seals are compared, and a session ends
once, whoever ends it.
"""

from collections.abc import Callable
from threading import Event
from time import monotonic
from typing import Final

from refold.domain.errors import Filling, Moved, Unavailable
from refold.domain.ports import State
from refold.infrastructure import chain, sessions
from refold.infrastructure.folding.folder import PARTITION
from refold.infrastructure.store import Store

SHORTEST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks at the head: more and more while nothing happens."""

PURGED_AT_ONCE: Final = 100
"""Sessions that are ended before the daemon looks whether it is to stop."""

Say = Callable[[str, dict[str, int | float | str]], None]
"""Told what happened, and the facts of it."""


class Daemon:
    """Follows the log of one store."""

    def __init__(self, store: Store, say: Say, purge_seconds: float = 60.0) -> None:
        self._store, self._say, self._purge_seconds = store, say, purge_seconds
        self._folded = -1
        standing = store.log.seals(PARTITION)
        self._sealed = standing[-1].position if standing else 0
        self._next_purge = monotonic()

    def run(self, stopped: Event) -> None:
        """Follow the log until `stopped`; a store that is away is asked again.

        Raises `Unreadable` at what this refold cannot fold: nothing is skipped.
        """
        self._say("started", {"store": self._store.address.public})
        pause = SHORTEST_PAUSE
        while not stopped.is_set():
            try:
                pause = SHORTEST_PAUSE if self.step() else min(2 * pause, LONGEST_PAUSE)
            except Unavailable as error:
                self._say("unavailable", {"reason": str(error)})
                pause = LONGEST_PAUSE
            stopped.wait(pause)
        self._say("stopped", {"position": max(self._folded, 0)})

    def step(self) -> bool:
        """Do what there is to do now, and tell whether there was anything."""
        head = self._store.log.heads()[PARTITION]
        folded = self._fold(head.position)
        sealed = self._seal(head.position)
        purged = head.state is State.OPEN and self._purge()
        return folded or sealed or purged

    def _fold(self, head: int) -> bool:
        if head == self._folded:
            return False
        began = monotonic()
        before, self._folded = self._folded, self._store.folder.catch_up()
        if self._folded > max(before, 0):
            seconds = round(monotonic() - began, 3)
            self._say("folded", {"position": self._folded, "seconds": seconds})
        return True

    def _seal(self, head: int) -> bool:
        if head - self._sealed < chain.GRID:
            return False
        before, self._sealed = self._sealed, chain.seal(self._store.log, PARTITION, head)
        self._say(
            "sealed", {"position": self._sealed, "blocks": (self._sealed - before) // chain.GRID}
        )
        return True

    def _purge(self) -> bool:
        if monotonic() < self._next_purge:
            return False
        try:
            ended = sessions.purge(self._store, most=PURGED_AT_ONCE)
        except (Moved, Filling):
            return False  # it moves, or is being filled: its sessions end elsewhere
        if ended < PURGED_AT_ONCE:
            self._next_purge = monotonic() + self._purge_seconds
        if ended:
            self._say("purged", {"sessions": ended})
        return bool(ended)
