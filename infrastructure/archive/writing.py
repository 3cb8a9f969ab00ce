"""Writes the log of a store into an archive, and goes on where the archive ends."""

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import NamedTemporaryFile
from time import monotonic
from typing import IO, Any, BinaryIO, Final

from refold.domain.errors import BrokenLog, Filling, ForeignTarget, Refused
from refold.domain.ports import Key, Recorded, Seal, State
from refold.domain.positions import PARTITION, Positions
from refold.infrastructure import chain
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import reading as archives
from refold.infrastructure.archive.format import (
    CHUNK,
    FORMAT,
    Header,
    block_frame,
    end_frame,
    header_frame,
    keys_frame,
)
from refold.infrastructure.archive.reading import Reading, Unfinished
from refold.infrastructure.blobs.inventory import BlobProof
from refold.infrastructure.chain import GRID, Walk, pages
from refold.infrastructure.moving.certificate import Certificate, End, VaultProof
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class Written:
    """What an archive holds now; `appended` events of it are new.

    In the certificate the vault is None where the keys of sealed fields were left out; `left_out`
    counts those then. The archive has no contents of blobs: `needed` are those of its events.
    """

    certificate: Certificate
    appended: int
    left_out: int
    needed: Sequence[str]

    def document(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        return {
            **self.certificate.document(),
            "claims": None,  # they are folded again on the way back
            "appended": self.appended,
            "keys_left_out": self.left_out,
            "blobs": {"count": len(self.needed), "needed": self.needed},
        }


def write(
    source: Store, place: Archive, *, with_keys: bool = False, progress: Progress = quietly
) -> Written:
    """Bring an archive to where `source` stands now, and read back what was added.

    Makes the file, for its owner alone, if there is none. What an unfinished run left of a block
    is cut off. An archive with keys is replaced by one with those of now: erased ones leave it.

    Raises `ForeignTarget` for an archive of another history or one that goes on further,
    `Refused` when it has keys and is to have none, `Filling` when the source is unfinished,
    `BrokenLog` when source or archive are damaged, `Unavailable` when the file cannot be used.
    """
    began = monotonic()
    if source.log.partitions > 1:
        raise Refused(
            f"an archive is of a log with one partition, and {source.address.public} has"
            f" {source.log.partitions}: copy it to another store"
        )
    there, standing = source.log.heads()[PARTITION], source.log.seals(PARTITION)
    sealed_before = chain.sealed(standing)
    if there.state is State.FILLING:
        raise Filling
    if source.log.claims().trackings:
        raise Refused(
            "an archive cannot keep up to where other applications' events are processed, and this"
            " store says so of some: copy it to another store"
        )
    if sealed_before > there.position:
        raise BrokenLog(PARTITION, there.position + 1, sealed_before, "sealed events are missing")
    with archives.failures(place), ExitStack() as cleanup:
        _make(source, place)
        file = cleanup.enter_context(archives.opened(place, to_write=True))
        found = _scan(place, file)
        _check(source, found, place, there.position)
        walk = _walk_to(source, standing, found, place)
        if found.keys is not None and not with_keys:
            raise Refused(
                f"{place.public} has keys of sealed fields: give --with-keys to keep them"
            )
        all_keys = source.log.keys()
        keys = all_keys if with_keys else None
        if there.position > found.position or not found.finished or keys != found.keys:
            if found.keys is not None:
                file = cleanup.enter_context(_beside(place, file, found.keys_at))
                found.size = found.keys_at
            _append(source, file, found, walk, there.position, progress)
            _finish(file, keys, walk)
            _read_back(place, file, found, walk)
    source.log.add_seals(walk.fresh)
    made = _certificate(source, place, found, walk, keys)
    made.sealed_before = Positions((sealed_before,))
    made.seconds = monotonic() - began
    left_out = 0 if with_keys else sum(key.wrapped is not None for key in all_keys)
    return Written(made, walk.position - found.position, left_out, sorted(found.blobs))


# --- the file ---------------------------------------------------------------------


def _make(source: Store, place: Archive) -> None:
    """Make an archive with a header, whole or not at all, unless there is a file already."""
    if os.path.lexists(place.path):
        return
    identity = source.log.identity()
    header = Header(
        FORMAT,
        identity.log_id,
        PARTITION,
        source.address.public,
        datetime.now(UTC).isoformat(timespec="seconds"),
        identity.store_id,
    )
    with NamedTemporaryFile(dir=place.path.parent, prefix=".refold-") as file:
        file.write(header_frame(header))
        _sync(file)
        with suppress(FileExistsError):
            os.link(file.name, place.path)
    _sync_folder(place.path)


@contextmanager
def _beside(place: Archive, file: BinaryIO, size: int) -> Iterator[BinaryIO]:
    """Give a new file with the first `size` bytes of one, which takes its place in the end.

    So an archive with keys is never without them, and those of before are gone with it.
    """
    part = place.path.with_name(f"{place.path.name}.part")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, _NEW, 0o600), "r+b") as new:
        try:
            for start in range(0, size, CHUNK):
                new.write(os.pread(file.fileno(), min(CHUNK, size - start), start))
            yield new
            part.replace(place.path)
        finally:
            part.unlink(missing_ok=True)
    _sync_folder(place.path)


def _sync(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# --- what is in it ----------------------------------------------------------------


def _scan(place: Archive, file: BinaryIO) -> Reading:
    """Return what stands in an archive: blocks that are whole, whatever an unfinished run left."""
    found = Reading(place, file)
    with suppress(Unfinished):
        for _ in found.blocks():
            pass
    return found


def _check(source: Store, found: Reading, place: Archive, position: int) -> None:
    log_id = source.log.identity().log_id
    if found.header.log_id != log_id:
        raise ForeignTarget(f"{place.public} is of log {found.header.log_id}, not of {log_id}")
    if found.position > position:
        raise ForeignTarget(
            f"{place.public} goes on to position {found.position}, the source ends at {position}"
        )


def _walk_to(source: Store, standing: Sequence[Seal], found: Reading, place: Archive) -> Walk:
    """Return a walk over the source behind what the archive has, which is the same there.

    It begins at the last seal before that, which is taken as it stands.
    """
    walk = Walk(PARTITION, standing)
    for seal in standing:
        if seal.position <= found.position:
            walk.position, walk.chain = seal.position, seal.chain
    for page in pages(source.log, PARTITION, walk.position, found.position):
        walk.over(page)
    if walk.chain != found.chain:
        raise ForeignTarget(
            f"{place.public} and the source differ at position {found.position} or before it"
        )
    return walk


def _append(
    source: Store,
    file: BinaryIO,
    found: Reading,
    walk: Walk,
    until: int,
    progress: Progress,
) -> None:
    file.truncate(found.size)
    file.seek(found.size)
    while walk.position < until:
        most = chain.PAGE - walk.position % GRID
        for block in _blocks(chain.page(source.log, PARTITION, walk.position, until, most)):
            walk.over(block)
            blobs = {sha256 for record in block for sha256 in source.codec.blobs(record)}
            file.write(block_frame(block, walk.chain, blobs))
        file.flush()
        progress("archive", walk.position, until)


def _blocks(page: Sequence[Recorded]) -> Iterator[Sequence[Recorded]]:
    """Yield the events of a page in blocks that end where seals may stand."""
    start = 0
    while start < len(page):
        end = start + GRID - (page[start].position - 1) % GRID
        yield page[start:end]
        start = end


def _finish(file: BinaryIO, keys: Sequence[Key] | None, walk: Walk) -> None:
    """Put the end behind blocks that are on disk."""
    if keys is not None:
        file.write(keys_frame(keys))
    _sync(file)
    file.write(end_frame(walk.position, walk.chain))
    _sync(file)


def _read_back(place: Archive, file: BinaryIO, found: Reading, walk: Walk) -> None:
    """Go over what was added, as it stands in the file. Raises `BrokenLog`."""
    again = Reading(place, file)
    again.skip(found.size, found.position, found.chain)
    for _ in archives.events(again):
        pass
    if (again.position, again.chain) != (walk.position, walk.chain):
        raise BrokenLog(PARTITION, found.position + 1, walk.position, "it was read back otherwise")
    found.types.update(again.types)
    found.blobs.update(again.blobs)


def _certificate(
    source: Store, place: Archive, found: Reading, walk: Walk, keys: Sequence[Key] | None
) -> Certificate:
    return Certificate(
        source=source.address.public,
        target=place.public,
        source_id=source.log.identity().store_id,
        log_id=found.header.log_id,
        ends=[End(PARTITION, walk.position, walk.chain)],
        types=dict(found.types),
        tables_at=Positions((walk.position,)),
        vault=None if keys is None else VaultProof.of(keys),
        blobs=BlobProof(len(found.blobs)),
    )
