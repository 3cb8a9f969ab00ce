"""What there is of blobs: whole, damaged or missing ones of events, and those of no event."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Any, Final, NamedTuple

from refold.domain.errors import NoSuchBlob, Unreadable
from refold.domain.ports import Blobs
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store

THREADS: Final = 8
"""Blobs that are read or carried at once: what takes long is to wait for a disk or a bucket."""

AT_ONCE: Final = 1_000
"""Blobs that wait for a thread at most."""

Count = Callable[[int], None]
"""Told how many bytes were read or sent since it was told last."""


class Seen(NamedTuple):
    """A whole blob of so many bytes, and whether it was sent there just now."""

    size: int
    was_sent: bool = False


Look = Callable[[str, Count], Seen]
"""Reads a whole blob; raises `NoSuchBlob`, or `Unreadable` when its bytes are others."""


@dataclass(frozen=True, slots=True)
class BlobProof:
    """The `count` blobs that the events of a store refer to; the whole ones have `size` bytes.

    Of these `sent` were brought by this run. `missing` are not there, `damaged` have other bytes
    than their names say; no event refers to those that are `orphaned`, which are there all the
    same. The three are SHA-256s, in order.
    """

    count: int = 0
    size: int = 0
    sent: int = 0
    missing: tuple[str, ...] = ()
    damaged: tuple[str, ...] = ()
    orphaned: tuple[str, ...] = ()

    @property
    def differences(self) -> list[str]:
        """Return what makes two stores differ, each in a sentence."""
        lacking = {"missing": self.missing, "damaged": self.damaged}
        return [f"{how} blobs: {len(names)}" for how, names in lacking.items() if names]

    def document(self) -> dict[str, Any]:
        """Return the proof as `--json` prints it."""
        return {
            "count": self.count,
            "bytes": self.size,
            "sent": self.sent,
            "missing": self.missing,
            "damaged": self.damaged,
            "orphaned": self.orphaned,
        }


class Inventory:
    """Finds out about blobs, each looked at once, by `THREADS` threads.

    `lacking` says of those that are missing or damaged what is wrong with them.
    """

    def __init__(self, look: Look, progress: Progress = quietly) -> None:
        self._look = look
        self._progress = progress
        self._one_at_a_time = Lock()
        self._bytes = 0
        self._whole: dict[str, Seen] = {}
        self.lacking: dict[str, NoSuchBlob | Unreadable] = {}
        self._others: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        """Look at those of `names` that were not looked at. Raises `Unavailable`, `NoSpace`."""
        fresh = [name for name in dict.fromkeys(names) if not self._knows(name)]
        if not fresh:
            return
        total = len(fresh) + len(self._whole) + len(self.lacking)
        with ThreadPoolExecutor(min(THREADS, len(fresh))) as pool:
            waiting = iter(fresh)
            while some := list(islice(waiting, AT_ONCE)):
                for name, found in zip(some, pool.map(self._found, some), strict=True):
                    if isinstance(found, Seen):
                        self._whole[name] = found
                    else:
                        self.lacking[name] = found
                    with self._one_at_a_time:
                        self._progress("blobs", len(self._whole) + len(self.lacking), total)

    def forget(self, names: Iterable[str]) -> None:
        """Take it that no event refers to `names` any more."""
        for name in names:
            self._whole.pop(name, None)
            self.lacking.pop(name, None)

    def list_others(self, blobs: Blobs | None) -> None:
        """See which blobs there are that were not looked at: so far nothing refers to them."""
        self._others = {each.sha256 for each in blobs.list()} if blobs else set()
        self._others -= self._whole.keys() | self.lacking.keys()

    def proof(self) -> BlobProof:
        """Return what was found."""
        damaged = {name for name, why in self.lacking.items() if isinstance(why, Unreadable)}
        return BlobProof(
            len(self._whole) + len(self.lacking),
            sum(seen.size for seen in self._whole.values()),
            sum(seen.was_sent for seen in self._whole.values()),
            tuple(sorted(self.lacking.keys() - damaged)),
            tuple(sorted(damaged)),
            tuple(sorted(name for name in self._others if not self._knows(name))),
        )

    def _knows(self, name: str) -> bool:
        return name in self._whole or name in self.lacking

    def _found(self, name: str) -> Seen | NoSuchBlob | Unreadable:
        try:
            return self._look(name, self._count)
        except (NoSuchBlob, Unreadable) as why:
            return why

    def _count(self, size: int) -> None:
        with self._one_at_a_time:
            self._bytes += size
            self._progress("bytes of blobs", self._bytes, None)


def inventory(store: Store, progress: Progress = quietly) -> Inventory:
    """Return what finds out about the blobs of a store. With none named, `add` raises that."""
    return Inventory(lambda name, count: read(store.blobs, name, count), progress)


def read(blobs: Blobs, sha256: str, count: Count) -> Seen:
    """Read a whole blob as `Look` does."""
    return Seen(sum(map(len, counted(blobs.get(sha256), count))))


def counted(chunks: Iterable[bytes], count: Count) -> Iterator[bytes]:
    """Pass chunks on, and tell of them."""
    for chunk in chunks:
        count(len(chunk))
        yield chunk
