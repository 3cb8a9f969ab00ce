"""Verifies an archive by itself, or against a store of the same history."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from refold.domain.errors import BrokenLog
from refold.domain.ports import Key, Recorded
from refold.domain.positions import PARTITION
from refold.infrastructure.address import Archive
from refold.infrastructure.archive.reading import Reading, events, opened
from refold.infrastructure.blobs.references import References
from refold.infrastructure.chain import Walk, pages
from refold.infrastructure.codec import EVENTS
from refold.infrastructure.moving.certificate import VaultProof
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store

Over = Callable[[Sequence[Recorded]], None]


@dataclass(slots=True)
class Report:
    """What an archive says of itself, up to the first block that is `bad`.

    `keys` are None where they were left out; `blobs` are the contents that its events
    need, each with the position of the last of them.
    """

    archive: str
    log_id: str
    made_at: str
    position: int = 0
    chain: bytes = b""
    types: Counter[str] = field(default_factory=Counter)
    blobs: dict[str, int] = field(default_factory=dict)
    keys: Sequence[Key] | None = None
    bad: BrokenLog | None = None
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Tell whether every block is as it was written, and the end is there."""
        return self.bad is None and not self.differences

    def document(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        bad = self.bad
        return {
            "ok": self.ok,
            "archive": self.archive,
            "log_id": self.log_id,
            "made_at": self.made_at,
            "partitions": [
                {"partition": PARTITION, "position": self.position, "chain": self.chain.hex()}
            ],
            "types": dict(sorted(self.types.items())),
            "bad_block": {"first": bad.first, "last": bad.last, "reason": str(bad)}
            if bad
            else None,
            "vault": None if self.keys is None else VaultProof.of(self.keys).document(),
            "blobs": {"count": len(self.blobs), "needed": sorted(self.blobs)},
            "differences": self.differences,
            "seconds": round(self.seconds, 3),
        }


def check(place: Archive) -> None:
    """Open an archive and read its header. Raises `NoSuchArchive`, `NoArchive`, `Unavailable`."""
    with opened(place) as file:
        Reading(place, file)


def verify(place: Archive, progress: Progress = quietly, over: Over | None = None) -> Report:
    """Read every block, and compare lines, SHA-256 and chain; `over` is given the events.

    Raises `NoSuchArchive`, `NoArchive` and `Unavailable`.
    """
    began = monotonic()
    with opened(place) as file:
        total = file.seek(0, 2)
        reading = Reading(place, file)
        header = reading.header
        report = Report(place.public, header.log_id, header.made_at, chain=reading.chain)
        referring = References(EVENTS)
        try:
            for page in events(reading):
                report.position, report.chain = reading.position, reading.chain
                report.types.update(record.type for record in page)
                referring.over(page)
                if over:
                    over(page)
                progress("verify", reading.size, total)
        except BrokenLog as broken:
            report.bad = broken
        report.blobs, report.keys = referring.all(), reading.keys
    report.seconds = monotonic() - began
    return report


def compare(place: Archive, store: Store, progress: Progress = quietly) -> Report:
    """Verify an archive, and compare it with a store that has the same events or more.

    The log of the store is read up to the archive's position, and compared with its seals. What
    differs is in the report, with the first block that does.
    """
    report = verify(place, progress)
    if report.bad is None:
        try:
            report.differences += _differences(place, store, report, progress)
        except BrokenLog as broken:  # the archive is not: it was just read
            report.differences.append(f"{store.address.public}: {broken}")
    return report


def _differences(place: Archive, store: Store, report: Report, progress: Progress) -> Iterator[str]:
    address, log_id = store.address.public, store.log.identity().log_id
    if log_id != report.log_id:
        yield f"the archive is of log {report.log_id}, {address} of {log_id}"
        return
    end = store.log.heads()[PARTITION].position
    if end < report.position:
        yield f"{address} ends at position {end}, the archive at {report.position}"
    walk = Walk(PARTITION, store.log.seals(PARTITION))
    with opened(place) as file:
        reading = Reading(place, file)
        for block in reading.blocks():
            if block.end.last > end:
                return
            for page in pages(store.log, PARTITION, walk.position, block.end.last):
                walk.over(page)
            if walk.chain != reading.chain:
                yield f"the events between {block.end.first} and {block.end.last} differ"
                return
            progress("compare", walk.position, report.position)
