"""The daemon: folds, seals and ends expired sessions, so that nobody who reads has to wait for it.

It can also look for drift: a few rows at a time are compared with what the log makes of them.

Several may run on one store: folding stands behind a fence, seals are compared, and a session ends
once, whoever ends it.
"""

from collections.abc import Callable, Sequence
from secrets import randbelow
from threading import Event
from time import monotonic
from typing import Final

from refold.domain.errors import Filling, Moved, StaleProjection, Unavailable
from refold.domain.ports import Head, State, ends
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.checking.drift import Checked, find_drift
from refold.infrastructure.folding.advancing import UNREADABLE
from refold.infrastructure.services import sessions
from refold.infrastructure.store import Store
from refold.projections import catalog

SHORTEST_PAUSE: Final = 0.01
LONGEST_PAUSE: Final = 1.0
"""Seconds between two looks at the head: more and more while nothing happens."""

PURGED_AT_ONCE: Final = 100
"""Sessions that are ended before the daemon looks whether it is to stop."""

DRIFT_SAMPLE: Final = 100
"""Events, and live rows of each table, that are drawn for one look for drift."""

Say = Callable[[str, dict[str, int | float | str]], None]
"""Told what happened, and the facts of it."""


class Daemon:
    """Follows the log of one store."""

    def __init__(
        self,
        store: Store,
        say: Say,
        purge_seconds: float = 60.0,
        drift_seconds: float | None = None,
    ) -> None:
        """Without `drift_seconds`, the time between two looks for drift, there is none."""
        self._store, self._say, self._purge_seconds = store, say, purge_seconds
        self._drift_seconds = drift_seconds
        self._folded: Positions | None = None
        self._blocked = ""
        self._sealed = [
            chain.sealed(store.log.seals(partition)) for partition in range(store.log.partitions)
        ]
        self._next_purge = self._next_look = monotonic()

    def run(self, stopped: Event) -> None:
        """Follow the log until `stopped`; a store that is away is asked again.

        A table that this refold cannot fold on is told as blocked; the others go on. Raises
        `LogWentBack` when the log is not the one that was folded.
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
        self._say("stopped", {"position": self._folded.document() if self._folded else 0})

    def step(self) -> bool:
        """Do what there is to do now, and tell whether there was anything."""
        heads = self._store.log.heads()
        folded = self._fold(ends(heads))
        sealed = max([self._seal(each) for each in heads])
        purged = heads[0].state is State.OPEN and self._purge()
        self._look_for_drift()
        return folded or sealed or purged

    def _fold(self, head: Positions) -> bool:
        if head == self._folded and not self._blocked:
            return False
        began = monotonic()
        before = self._folded
        try:
            self._folded = self._store.folder.catch_up()
            self._blocked = ""
        except (*UNREADABLE, StaleProjection) as stop:  # the tables of other kinds went on
            if str(stop) != self._blocked:
                self._say("blocked", {"reason": str(stop)})
            self._folded, self._blocked = head, str(stop)
            return head != before
        if self._folded.total > (before.total if before else 0):
            seconds = round(monotonic() - began, 3)
            self._say("folded", {"position": self._folded.document(), "seconds": seconds})
        return True

    def _seal(self, head: Head) -> bool:
        before = self._sealed[head.partition]
        if head.position - before < chain.GRID:
            return False
        position = chain.seal(self._store.log, head.partition, head.position)
        self._sealed[head.partition] = position
        facts = {"position": position, "blocks": (position - before) // chain.GRID}
        several = {"partition": head.partition} if len(self._sealed) > 1 else {}
        self._say("sealed", {**several, **facts})
        return True

    def _purge(self) -> bool:
        if monotonic() < self._next_purge:
            return False
        try:
            ended = sessions.purge(self._store, most=PURGED_AT_ONCE)
        except (Moved, Filling):
            return False  # it moves, or is being filled: its sessions end elsewhere
        except (*UNREADABLE, StaleProjection):
            return False  # their table is blocked, which was told
        if ended < PURGED_AT_ONCE:
            self._next_purge = monotonic() + self._purge_seconds
        if ended:
            self._say("purged", {"sessions": ended})
        return bool(ended)

    def _look_for_drift(self) -> None:
        """Compare a small sample of all tables that go on, and say what differs, not the values."""
        if self._drift_seconds is None or monotonic() < self._next_look:
            return
        for checked in self._sampled():
            if checked.blocked and not self._blocked:  # which came just now
                self._say("blocked", {"reason": checked.blocked})
            for row in checked.drifted:
                place = {"table": checked.table, "key": " ".join(row.key), "row": row.what}
                if row.what != "changed":
                    self._say("drift", {**place})
                    continue
                for column in row.cells:
                    self._say("drift", {**place, "column": column})
        self._next_look = monotonic() + self._drift_seconds

    def _sampled(self) -> Sequence[Checked]:
        try:
            return find_drift(self._store, catalog.ALL, DRIFT_SAMPLE, randbelow(2**32))
        except (*UNREADABLE, StaleProjection) as stop:
            self._say("blocked", {"reason": str(stop)})
            return ()
