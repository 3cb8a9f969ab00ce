"""Anchors: where a log stood and when, kept outside of the store, one line of JSON each.

Whoever may do everything to a database can delete the newest events, or write others with seals
that fit them. An anchor where they cannot write tells.
"""

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import time_ns
from typing import Protocol

import msgspec

from refold.domain import times
from refold.domain.errors import BadInput, BrokenLog, Refused, Unavailable
from refold.infrastructure import chain
from refold.infrastructure.config import Settings
from refold.infrastructure.limits import MOST_PARTITIONS
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store


@dataclass(frozen=True, slots=True)
class Anchor:
    """The end of a partition at a time; `chain` is the hash chain there, in hex."""

    log_id: str
    partition: int
    position: int
    chain: str
    at: str


class Place(Protocol):
    """Where anchors are kept."""

    def read(self) -> bytes | None:
        """Return all lines, None where there is nothing yet. Raises `Unavailable`."""
        ...

    def append(self, before: bytes, line: bytes) -> None:
        """Add a line behind `before`, which is what was read. Raises `Refused` or `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class File:
    """Anchors in a file, which is made when it is first needed."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    def read(self) -> bytes | None:
        try:
            if self.path.exists() and not self.path.is_file():
                raise OSError(errno.EINVAL, "it is no plain file")
            return self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable(f"{self.path} cannot be read: {error.strerror}") from error

    def append(self, before: bytes, line: bytes) -> None:  # noqa: ARG002 - it goes behind all
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                _write_whole(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise Refused(f"{self.path} cannot be written: {error.strerror}") from error


def _write_whole(file: int, line: bytes) -> None:
    """Write a line behind all of a file, or nothing. Raises `OSError`."""
    size = os.fstat(file).st_size
    try:
        while line:
            line = line[os.write(file, line) :]
    except OSError:
        os.ftruncate(file, size)
        raise


def place(name: str, settings: Settings) -> Place:
    """Return the place that `name` is: a file, or `s3://BUCKET/KEY`.

    S3 is spoken to as `[storage.media]` says, else as the AWS SDK finds out by itself. Raises
    `BadInput`.
    """
    if not name.startswith("s3://"):
        return File(Path(name))
    from refold.infrastructure.blobs.s3_object import S3Object
    from refold.infrastructure.blobs.s3_place import S3Place

    bucket, _, key = name.removeprefix("s3://").partition("/")
    if not key:
        raise BadInput(f"{name} is not s3://BUCKET/KEY")
    media, own = settings.media, {"provider", "folder", "bucket", "prefix"}
    way = media.model_dump(exclude=own) if media.provider == "s3" else {}
    return S3Object(S3Place(bucket, **way), key)


def add(store: Store, place: Place) -> tuple[list[Anchor], list[str]]:
    """Seal all full blocks and add an anchor for the end of each partition of the log.

    Returns them, or what the last anchors say otherwise than the log; then nothing is written.
    Seals are taken as they stand: `check` reads all. Raises `BadInput` for what is no anchor, and
    `BrokenLog` for a hole.
    """
    before = place.read() or b""
    last = {each.partition: each for each in _parsed(before, place)}
    log_id, now = store.log.identity().log_id, times.text(time_ns() // 1_000)
    added, differences = list[Anchor](), list[str]()
    for partition, end in enumerate(store.advance.head().each):
        chain.seal(store.log, partition, end)
        known = [last[partition]] if partition in last else []
        until = min((each.position for each in known), default=end)
        seals = [seal for seal in store.log.seals(partition) if seal.position <= until]
        walk = chain.Walk.resume(seals[-1]) if seals else chain.Walk(partition, ())
        differences += _differences(store, walk, known, quietly)
        if not differences:
            _go(store, walk, end, quietly)
        added.append(Anchor(log_id, partition, walk.position, walk.chain.hex(), now))
    if differences:
        return [], differences
    place.append(before, b"".join(msgspec.json.encode(asdict(each)) + b"\n" for each in added))
    return added, []


def check(store: Store, place: Place, progress: Progress = quietly) -> list[str]:
    """Return what of the log is not as the anchors say, each in a sentence.

    The log is read from its first event, and compared with its seals, too. Raises `BadInput` for
    what is no anchor, or where there are none.
    """
    anchors = _parsed(place.read() or b"", place)
    if not anchors:
        raise BadInput(f"there are no anchors at {place}")
    found = list[str]()
    for partition in range(max(store.log.partitions, *(1 + each.partition for each in anchors))):
        own = [each for each in anchors if each.partition == partition]
        try:
            walk = chain.Walk(partition, store.log.seals(partition))
            found += _differences(store, walk, own, progress)
        except BrokenLog as broken:
            found.append(str(broken))
    return found


def _differences(
    store: Store, walk: chain.Walk, anchors: Iterable[Anchor], progress: Progress
) -> Iterator[str]:
    """Yield the first difference, if there is one: what is behind it differs all the more."""
    log_id, head = store.log.identity().log_id, store.advance.head()[walk.partition]
    fits = 0
    for anchor in sorted(anchors, key=lambda each: each.position):
        if anchor.log_id != log_id:
            yield f"the log is {log_id}, not {anchor.log_id} as at {anchor.at}"
            return
        _go(store, walk, min(anchor.position, head), progress)
        if head < anchor.position:
            yield (
                f"the log ends at position {head}, but at {anchor.at} it went up to position"
                f" {anchor.position}: its newest events are gone"
            )
            return
        if walk.chain.hex() != anchor.chain:
            yield (
                f"the log differs at position {anchor.position} from what it was at {anchor.at}:"
                f" an event behind position {fits} was changed"
            )
            return
        fits = anchor.position


def _go(store: Store, walk: chain.Walk, until: int, progress: Progress) -> None:
    for page in chain.pages(store.log, walk.partition, walk.position, until):
        walk.over(page)
        progress("verify", walk.position, until)


def _parsed(lines: bytes, place: Place) -> Sequence[Anchor]:
    anchors = []
    for number, line in enumerate(lines.splitlines(keepends=True), 1):
        try:
            if not line.endswith(b"\n"):
                raise ValueError("it was cut off")
            anchor = msgspec.json.decode(line, type=Anchor)
            if not 0 <= anchor.partition < MOST_PARTITIONS:
                raise ValueError(f"there is no partition {anchor.partition}")
            anchors.append(anchor)
        except ValueError as error:
            raise BadInput(f"line {number} of {place} is no anchor: {error}") from error
    return anchors
