"""The hash chain over a partition of the log, and the seals that stand on it every 1 000 events.

    chain(0) = SHA-256("refold log 1" ‖ partition)
    chain(n) = SHA-256(chain(n - 1) ‖ record n)

A record enters as its numbers (partition, position, version, schema, recorded_at, command_no) and
then its texts and bytes (stream, type, data, metadata, command_id); each field as its length in
bytes (8 bytes, big-endian) and its bytes, a number as 8 bytes, signed. A golden file holds this.
"""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from struct import Struct
from typing import Final, Protocol

from refold.domain import streams
from refold.domain.errors import BrokenLog
from refold.domain.ports import EventLog, Recorded, Seal, Seals

GRID: Final = 1_000
"""Positions between two seals."""

PAGE: Final = 5_000
"""Records read at once when a whole log is read."""

_NUMBERS: Final = Struct(">QqQqQqQqQqQq")
_LENGTH: Final = Struct(">Q")


def genesis(partition: int) -> bytes:
    """Return the chain of an empty partition."""
    return sha256(b"refold log 1" + partition.to_bytes(8, "big")).digest()


def link(chain: bytes, record: Recorded) -> bytes:
    """Return the chain after `record`."""
    stream, type = record.stream.encode(), record.type.encode()
    command_id = record.command_id.encode()
    length = _LENGTH.pack
    return sha256(
        b"".join(
            (
                chain,
                _NUMBERS.pack(
                    8,
                    record.partition,
                    8,
                    record.position,
                    8,
                    record.version,
                    8,
                    record.schema,
                    8,
                    record.recorded_at,
                    8,
                    record.command_no,
                ),
                length(len(stream)),
                stream,
                length(len(type)),
                type,
                length(len(record.data)),
                record.data,
                length(len(record.metadata)),
                record.metadata,
                length(len(command_id)),
                command_id,
            )
        )
    ).digest()


def digest(record: Recorded) -> bytes:
    """Return the SHA-256 of one record alone."""
    return link(b"", record)


def page(log: EventLog, partition: int, after: int, until: int, most: int) -> list[Recorded]:
    """Return the next events behind `after`, up to `until`, where the log does not end before.

    At least one, at most `most`. Raises `BrokenLog` where a position is missing.
    """
    found = log.page(partition, after, min(most, until - after))
    if not found:
        raise BrokenLog(partition, after + 1, until, "events are missing")
    for position, record in enumerate(found, after + 1):
        if record.position != position:
            raise BrokenLog(partition, position, record.position - 1, "events are missing")
    return found


def pages(log: EventLog, partition: int, after: int, until: int) -> Iterator[list[Recorded]]:
    """Yield the events behind `after` up to and with `until`, in pages, without a hole.

    Raises `BrokenLog` where a position is missing.
    """
    while after < until:
        found = page(log, partition, after, until, PAGE)
        yield found
        after = found[-1].position


def read(log: EventLog, partition: int, after: int, number: int) -> list[Recorded]:
    """Return that many events behind `after`, or all that are there, whatever their bytes."""
    found: list[Recorded] = []
    while len(found) < number:
        some = log.page(partition, after, number - len(found))
        if not some:
            break
        found += some
        after = some[-1].position
    return found


class Walk:
    """Follows a partition from its first event, comparing with the seals that stand.

    `position` and `chain` tell how far it came, `seals` what has to stand there, and `fresh` those
    of them that were missing.
    """

    def __init__(self, partition: int, seals: Iterable[Seal]) -> None:
        self.partition = partition
        self.position = 0
        self.chain = genesis(partition)
        self.seals: list[Seal] = []
        self.fresh: list[Seal] = []
        self._standing = {seal.position: seal.chain for seal in seals}
        self._last: Recorded | None = None

    @classmethod
    def resume(cls, last: Seal) -> "Walk":
        """Return a walk that starts behind a seal that is taken as it stands."""
        walk = cls(last.partition, ())
        walk.position, walk.chain = last.position, last.chain
        return walk

    def over(self, page: Iterable[Recorded]) -> None:
        """Go over the next events. Raises `BrokenLog` with the block whose seal does not fit."""
        chain = self.chain
        for record in page:
            chain = link(chain, record)
            if record.position % GRID == 0:
                self._compare(record.position, chain)
            self.position, self.chain, self._last = record.position, chain, record

    def check_stands(self, log: EventLog) -> None:
        """Raise `BrokenLog` where `log` no longer has the last event that was gone over."""
        if self._last and log.page(self.partition, self.position - 1, 1) != [self._last]:
            raise BrokenLog(
                self.partition,
                1,
                self.position,
                "the log went back meanwhile, or another one took its place",
            )

    def _compare(self, position: int, chain: bytes) -> None:
        standing = self._standing.get(position)
        self.seals.append(Seal(self.partition, position, chain))
        if standing is None:
            self.fresh.append(self.seals[-1])
        elif standing != chain:
            first = position - GRID + 1
            raise BrokenLog(self.partition, first, position, "its seal does not fit its events")


class FamilyChains:
    """The chain of each family, over its events without partition and position.

    Together they say that two logs have the same events, wherever their families are.
    """

    def __init__(self) -> None:
        self._chains: dict[str, bytes] = {}

    def over(self, records: Iterable[Recorded]) -> None:
        """Go on with the next events of families."""
        for record in records:
            family = streams.family(record.stream)
            before = self._chains.get(family, b"")
            self._chains[family] = link(before, record._replace(partition=0, position=0))

    def proof(self) -> tuple[int, str]:
        """Return how many families there are, and the SHA-256 over their names and chains."""
        total = sha256()
        for family in sorted(self._chains):
            total.update(family.encode() + b"\n" + self._chains[family])
        return len(self._chains), total.hexdigest()


def sealed(standing: Sequence[Seal]) -> int:
    """Return up to where a partition with these seals is sealed."""
    return standing[-1].position if standing else 0


def seal(log: "SealedLog", partition: int, until: int) -> int:
    """Seal all full blocks up to `until` and return the position of the last seal.

    Goes on behind the last seal that stands; `copy` and `verify` are what compares them all.
    """
    standing = log.seals(partition)
    walk = Walk.resume(standing[-1]) if standing else Walk(partition, ())
    sealable = until - until % GRID
    for page in pages(log, partition, walk.position, sealable):
        walk.over(page)
        log.add_seals(walk.fresh)
        walk.fresh.clear()
    return walk.position


class SealedLog(EventLog, Seals, Protocol):
    """A log that keeps seals."""
