"""Reads an archive from its beginning, and trusts nothing behind what is damaged."""

import errno
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from typing import BinaryIO, Final, NamedTuple

from refold.domain.errors import BadInput, BrokenLog, Failure, NoSpace, NoSuchStore, Unavailable
from refold.domain.ports import Key, Recorded
from refold.domain.positions import PARTITION
from refold.infrastructure.address import Archive
from refold.infrastructure.archive.format import (
    FORMAT,
    BlockEnd,
    Frame,
    Frames,
    Header,
    Malformed,
    Torn,
    digest,
    read_event,
)
from refold.infrastructure.chain import GRID, genesis, link

_CUT_OFF: Final = "it is cut off: a copy that was killed, or a file that is not whole"
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe would wait
_WRITE: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK


class NoArchive(BadInput):
    """A file is no archive of refold, or one of a format that this refold does not know."""


class NoSuchArchive(NoSuchStore):
    """There is no archive at this address."""

    def __init__(self, address: str) -> None:
        Unavailable.__init__(self, f"there is no archive at {address}")
        self.address = address


class Unfinished(BrokenLog):
    """An archive ends without an end: a copy that was killed, or a file that was cut off."""


class Block(NamedTuple):
    """A block whose lines are those that were written; what they hold was not looked at yet."""

    end: BlockEnd
    lines: list[bytes]


@contextmanager
def opened(place: Archive, *, to_write: bool = False) -> Iterator[BinaryIO]:
    """Give the file of an archive, locked against whoever writes to it; no link is followed.

    Raises `NoSuchArchive`, `NoArchive` where something else than a file is, and `Unavailable`.
    """
    with (
        failures(place),
        os.fdopen(_descriptor(place, to_write), "r+b" if to_write else "rb") as file,
    ):
        try:
            flock(file, (LOCK_EX if to_write else LOCK_SH) | LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable(f"another process is at work on {place.path}") from error
        if os.fstat(file.fileno()).st_nlink == 0:
            raise Unavailable(f"{place.path} was replaced by another process; run this again")
        yield file


@contextmanager
def failures(place: Archive) -> Iterator[None]:
    """Tell what the operating system's errors mean for an archive."""
    try:
        yield
    except OSError as error:
        raise _failure(place, error) from error


def _failure(place: Archive, error: OSError) -> Failure:
    match error.errno:
        case errno.ELOOP:
            return NoArchive(f"{place.path} is a symbolic link, and none is followed")
        case errno.EISDIR | errno.ENXIO:
            return NoArchive(f"{place.path} is no plain file")
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return NoSpace(f"there is no room for {place.path}: {error.strerror}")
        case _:
            return Unavailable(f"{place.path} cannot be used: {error.strerror}")


def _descriptor(place: Archive, to_write: bool) -> int:
    try:
        descriptor = os.open(place.path, _WRITE if to_write else _READ)
    except FileNotFoundError as error:
        raise NoSuchArchive(place.public) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoArchive(f"{place.path} is no plain file")
    return descriptor


class Reading:
    """One run over the frames of an archive.

    Behind each block, `position`, `chain`, `types` and `blobs` tell of all blocks up to it. `size`
    is where the last whole frame ends, `keys` those of the last section of keys, which begins at
    `keys_at`, and `finished` whether an end was the last frame.
    """

    def __init__(self, place: Archive, file: BinaryIO) -> None:
        """Raises `NoArchive`."""
        self._frames = Frames(file)
        try:
            first = self._frames.next()
        except Malformed:
            first = None
        if first is None or first.closing.archive is None:
            raise NoArchive(f"{place.path} is no archive of refold")
        self.header: Header = first.closing.archive
        if self.header.format != FORMAT or self.header.partition != PARTITION:
            raise NoArchive(
                f"{place.path} has format {self.header.format}, this refold knows {FORMAT}"
            )
        self.position, self.chain = 0, genesis(PARTITION)
        self.types, self.blobs = Counter[str](), set[str]()
        self.keys: list[Key] | None = None
        self.keys_at = 0
        self.size = first.end
        self.finished = False

    def skip(self, size: int, position: int, chain: bytes) -> None:
        """Go on where a frame ends at `size`, behind a position whose chain is known."""
        self._frames.seek(size)
        self.size, self.position, self.chain = size, position, chain

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks, in order.

        Raises `BrokenLog` for the first one that is damaged, and `Unfinished` where the archive
        ends without an end.
        """
        while frame := self._next():
            if frame.closing.block:
                yield self._block(frame, frame.closing.block)
            elif frame.closing.keys:
                self._keep_keys(frame)
            elif frame.closing.end is None:
                raise self._broken("here stands the beginning of an archive")
            elif (frame.closing.end.position, frame.closing.end.chain) != (
                self.position,
                self.chain.hex(),
            ):
                raise self._broken(f"the archive was up to position {frame.closing.end.position}")
            self.finished = frame.closing.end is not None
            self.size = frame.end
        if not self.finished:
            raise Unfinished(*self._next_block(), _CUT_OFF)

    def _next(self) -> Frame | None:
        try:
            return self._frames.next()
        except Torn as error:
            self.finished = False
            raise Unfinished(*self._next_block(), _CUT_OFF) from error
        except Malformed as error:
            raise self._broken(str(error)) from error

    def _block(self, frame: Frame, end: BlockEnd) -> Block:
        first, last = self.position + 1, end.last
        if end.first != first:
            raise self._broken(f"here stands the block of positions {end.first} to {end.last}")
        if not first <= last <= self._next_block()[2] or len(frame.lines) != last - first + 1:
            raise self._broken(f"its {len(frame.lines)} lines are not positions up to {last}")
        if digest(frame.lines) != end.sha256:
            raise BrokenLog(PARTITION, first, last, "its SHA-256 does not fit its lines")
        block = Block(end, frame.lines)
        self.position, self.chain = last, _chain(end)
        self.types.update(end.types)
        self.blobs.update(end.blobs)
        return block

    def _keep_keys(self, frame: Frame) -> None:
        end = frame.closing.keys
        if end is None or digest(frame.lines) != end.sha256:
            raise self._broken("the keys behind the block before it do not fit their SHA-256")
        try:
            self.keys, self.keys_at = frame.keys(), self.size
        except Malformed as error:
            raise self._broken(str(error)) from error

    def _broken(self, what: str) -> BrokenLog:
        return BrokenLog(*self._next_block(), what)

    def _next_block(self) -> tuple[int, int, int]:
        """Return the partition, and the first and last position of the block that comes next."""
        return PARTITION, self.position + 1, self.position - self.position % GRID + GRID


def records(block: Block, chain: bytes, clock: int | None = None) -> list[Recorded]:
    """Return the events of a block, behind which the chain has to be what the block says.

    `chain` and `clock` are the chain and the time, in µs, before the block. Raises `BrokenLog`.
    """
    end = block.end
    try:
        found = [read_event(line, PARTITION) for line in block.lines]
    except Malformed as error:
        raise BrokenLog(PARTITION, end.first, end.last, str(error)) from error
    for position, record in enumerate(found, end.first):
        if record.position != position:
            raise BrokenLog(PARTITION, end.first, end.last, f"position {position} is missing")
        if record.version < 1:
            what = f"position {position} has version {record.version}"
            raise BrokenLog(PARTITION, end.first, end.last, what)
        if clock is not None and record.recorded_at < clock:
            raise BrokenLog(
                PARTITION, end.first, end.last, f"time goes back at position {position}"
            )
        chain, clock = link(chain, record), record.recorded_at
    if chain != _chain(end):
        raise BrokenLog(PARTITION, end.first, end.last, "its chain does not fit its events")
    if Counter(record.type for record in found) != end.types:
        raise BrokenLog(PARTITION, end.first, end.last, "it does not count its events right")
    return found


def _chain(end: BlockEnd) -> bytes:
    try:
        return bytes.fromhex(end.chain)
    except ValueError as error:
        raise BrokenLog(PARTITION, end.first, end.last, "its chain is none") from error


def events(reading: Reading) -> Iterator[list[Recorded]]:
    """Yield the events of the blocks that are left, checked. Raises `BrokenLog`."""
    chain, clock = reading.chain, None
    for block in reading.blocks():
        found = records(block, chain, clock)
        yield found
        chain, clock = reading.chain, found[-1].recorded_at
