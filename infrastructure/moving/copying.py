"""Copies a store to another place, or moves it there, and proves that nothing was lost.

The records go over byte for byte in the order of their positions, and are read back. The target's
own head is the cursor: whatever broke off goes on from there, and a second run finds nothing to do.
"""

from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from time import monotonic
from typing import Final

from refold.domain.errors import (
    BlobDiffers,
    BrokenLog,
    Filling,
    ForeignTarget,
    Moved,
    NoSuchBlob,
    Refused,
)
from refold.domain.ports import Claim, Head, Recorded, State
from refold.infrastructure.address import Memory
from refold.infrastructure.blobs.contents import is_whole
from refold.infrastructure.chain import Walk, pages
from refold.infrastructure.folding.folder import PARTITION, Digest
from refold.infrastructure.moving.certificate import Certificate, TableProof, VaultProof
from refold.infrastructure.store import Store
from refold.projections import catalog

PAGES_UNDER_WAY: Final = 2
"""Pages that are being written or read back while the next one is fetched."""

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many positions of it are done, of how many."""


def copy(source: Store, target: Store, progress: Progress | None = None) -> Certificate:
    """Bring `target` to where `source` stands now, and compare them there.

    The source stays open. The target takes no commands until it is equal. Raises `ForeignTarget`
    when it holds events that the source does not have, `Moved` when it is sealed, `Filling` when
    the source itself is unfinished, `BrokenLog` when the source is damaged; what differs otherwise
    is in the certificate.
    """
    _check(source, target, sealed_for=None)
    return _Copy(source, target, progress or _quietly).certified()


def move(source: Store, target: Store, progress: Progress | None = None) -> Certificate:
    """Copy `source`, seal it, copy what was appended meanwhile, compare, and open `target`.

    As long as the target was not opened, a difference or an error opens the source again; killed
    in between, the move has to be run again. Raises what `copy` raises, and `Moved` when the
    source was sealed for another target.
    """
    if isinstance(target.address, Memory):
        raise Refused("a store cannot move to memory: it would be gone with the process")
    _check(source, target, sealed_for=source.address.public)
    address = target.address.public
    head = _head(source)
    if head.state is State.SEALED and head.successor != address:
        raise Moved(head.successor or "an unknown address")
    copying = _Copy(source, target, progress or _quietly)
    copying.carry(head.position)
    source.folder.catch_up()
    if head.state is State.OPEN:
        source.log.change_state(State.SEALED, expected=State.OPEN, successor=address)
    sealed_here = head.state is State.OPEN
    try:
        certificate = copying.certified()
    except BaseException:
        copying.open_source_again(sealed_here=sealed_here)
        raise
    if not certificate.equal:
        copying.open_source_again(sealed_here=sealed_here)
    return certificate


@dataclass(frozen=True, slots=True)
class _View:
    """A source at one position: its claims, and the digests of those tables that stand there."""

    position: int
    claims: list[Claim]
    digests: dict[str, Digest]


class _Copy:
    """One run of a copy: a walk over the source, and beside it the same events at the target.

    The chain is that of the source's bytes; the target's are compared with them as read back.
    """

    def __init__(self, source: Store, target: Store, progress: Progress) -> None:
        self._source, self._target, self._progress = source, target, progress
        self._started = monotonic()
        standing = source.log.seals(PARTITION)
        self._sealed_before = standing[-1].position if standing else 0
        self._types: Counter[str] = Counter()
        self._differences: list[str] = []
        self._blobs: dict[str, bool] = {}
        _check_tail(source, self._sealed_before)
        self._walk = Walk(PARTITION, standing)
        self._target_was_open = _head(target).state is State.OPEN

    def certified(self) -> Certificate:
        """Carry over what is missing, compare everything, and open the target if it is equal."""
        view = _view(self._source)
        self.carry(view.position)
        self._compare_seals()
        if not self._differences:
            self._restore_claims(view)
        keys = self._carry_keys()
        missing = sum(not is_there for is_there in self._blobs.values())
        if missing:
            self._differences.append(f"{missing} blobs are missing or damaged")
        tables = [] if self._differences else self._compare_tables(view)
        if not self._differences:
            self._source.log.add_seals(self._walk.fresh)
            self._target.log.add_seals(self._walk.seals)
            if _head(self._target).state is not State.OPEN:
                self._target.log.change_state(State.OPEN, expected=State.FILLING)
        return Certificate(
            source=self._source.address.public,
            target=self._target.address.public,
            log_id=self._source.log.identity().log_id,
            position=self._walk.position,
            chain=self._walk.chain,
            sealed_before=self._sealed_before,
            types=dict(self._types),
            tables=tables,
            claims=len(view.claims),
            vault=keys,
            blobs=len(self._blobs),
            missing_blobs=missing,
            differences=self._differences,
            seconds=monotonic() - self._started,
        )

    def open_source_again(self, *, sealed_here: bool) -> None:
        """Take the seal of a move off, unless the target was opened: it may have gone on."""
        state = _head(self._target).state
        never_opened = self._target_was_open or state is not State.OPEN
        if state is State.FILLING or (sealed_here and never_opened):
            self._source.log.change_state(State.OPEN, expected=State.SEALED)

    def carry(self, until: int) -> None:
        """Bring all events up to `until` to the target, and read each of them back.

        While one page is written, the one before is read back and the next one is fetched.
        """
        self._progress("copy", self._walk.position, until)
        if self._target.log.identity().log_id != self._source.log.identity().log_id:
            self._fill(0)
        with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as reader:
            under_way: deque[Future[None]] = deque()
            for page in pages(self._source.log, PARTITION, self._walk.position, until):
                self._walk.over(page)
                self._types.update(record.type for record in page)
                self._carry_blobs(page)
                writing = writer.submit(self._write, page)
                under_way.append(reader.submit(self._read_back, page, writing))
                if len(under_way) > PAGES_UNDER_WAY:
                    under_way.popleft().result()
                if self._differences:
                    break
                self._progress("copy", self._walk.position, until)
            for last in under_way:
                last.result()

    def _carry_blobs(self, page: list[Recorded]) -> None:
        """Bring the blobs that events refer to over, before the events."""
        blobs = self._source.codec.blobs
        for record in page:
            for sha256 in blobs(record):
                if sha256 not in self._blobs:
                    self._blobs[sha256] = self._carry_blob(sha256)

    def _carry_blob(self, sha256: str) -> bool:
        """Bring a blob over unless it is there, whole, and tell whether it is now."""
        if is_whole(self._target.blobs, sha256):
            return True
        try:
            self._target.blobs.put(self._source.blobs.get(sha256), expected=sha256)
        except (NoSuchBlob, BlobDiffers):
            return False
        return True

    def _write(self, page: list[Recorded]) -> bool:
        """Write those events of `page` that the target lacks, and tell whether there were any.

        Nothing is written behind an event that differs.
        """
        there = self._at_target(page)
        self._compare(page[: len(there)], there)
        if self._differences or len(there) == len(page):
            return False
        self._fill(page[0].position - 1 + len(there))
        self._target.log.receive(page[len(there) :])
        return True

    def _read_back(self, page: list[Recorded], writing: Future[bool]) -> None:
        if writing.result():
            self._compare(page, self._at_target(page))

    def _compare(self, page: list[Recorded], there: list[Recorded]) -> None:
        if page != there:
            pairs = zip(page, there, strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            self._differences.append(f"the logs differ from position {page[0].position + same} on")

    def _at_target(self, page: list[Recorded]) -> list[Recorded]:
        return self._target.log.page(PARTITION, page[0].position - 1, len(page))

    def _compare_seals(self) -> None:
        standing = {seal.position: seal.chain for seal in self._target.log.seals(PARTITION)}
        for seal in self._walk.seals:
            if standing.get(seal.position, seal.chain) != seal.chain:
                self._differences.append(f"the target's seal at position {seal.position} differs")
                return

    def _fill(self, there: int) -> None:
        """Close the target for all but this copy; it takes over the source's history.

        Raises `ForeignTarget` when a command went in behind position `there` meanwhile.
        """
        before = _head(self._target)
        if before.state is not State.FILLING:
            self._close(before.state, there)
        log_id = self._source.log.identity().log_id
        if self._target.log.identity().log_id != log_id:
            self._target.log.change_state(State.FILLING, expected=State.FILLING, log_id=log_id)

    def _close(self, state: State, there: int) -> None:
        [head] = self._target.log.change_state(State.FILLING, expected=state)
        if head.position != there:
            self._target.log.change_state(State.OPEN, expected=State.FILLING)
            raise ForeignTarget(
                f"{self._target.address.public} took a command at position {head.position}"
                " while it was to be filled"
            )

    def _restore_claims(self, view: _View) -> None:
        if self._target.log.claims()[1] == view.claims:
            return
        if _head(self._target).state is State.FILLING:
            self._target.log.replace_claims(view.claims)
        elif _head(self._target).position == view.position:
            self._differences.append("the claims differ")

    def _carry_keys(self) -> VaultProof:
        """Bring the keys of sealed fields over; one that is erased anywhere wins there."""
        keys = self._source.log.keys()
        proof = VaultProof.of(keys)
        if keys and not self._differences:
            self._target.vault.take_over(self._source.vault)
            self._target.log.merge_keys(keys)
            if VaultProof.of(self._target.log.keys()) != proof:
                self._differences.append("the vaults differ")
        return proof

    def _compare_tables(self, view: _View) -> list[TableProof]:
        self._progress("fold", 0, view.position)
        self._target.folder.catch_up(view.position)
        proofs = []
        for projection in catalog.ALL:
            position, digest = self._target.folder.digest(projection)
            original = view.digests.get(projection.NAME) if position == view.position else None
            if original not in (None, digest):
                self._differences.append(f"table {projection.NAME} differs")
            proofs.append(TableProof(projection.NAME, digest, original))
        return proofs


def _check(source: Store, target: Store, *, sealed_for: str | None) -> None:
    """Raise a `Refused` unless `source` may be copied to `target`.

    A sealed target is filled only on the way back, by a move of the store that it moved to.
    """
    ours, theirs = source.log.identity(), target.log.identity()
    from_head, to_head = _head(source), _head(target)
    address = target.address.public
    if ours.store_id == theirs.store_id:
        raise Refused(f"{address} is the source itself")
    if from_head.state is State.FILLING:
        raise Filling
    if to_head.state is State.SEALED and to_head.successor != sealed_for:
        raise Moved(to_head.successor or "an unknown address")
    if ours.log_id != theirs.log_id and to_head.position:
        raise ForeignTarget(f"{address} holds {to_head.position} events of another history")
    if source.log.keys():
        target.vault.take_over(source.vault)
    moved_there = from_head.state is State.SEALED and from_head.successor == address
    if to_head.position > from_head.position and not moved_there:
        raise ForeignTarget(
            f"{address} goes on to position {to_head.position}, the source ends at"
            f" {from_head.position}"
        )


def _check_tail(source: Store, sealed: int) -> None:
    """Raise `BrokenLog` when events that were sealed are gone."""
    position = _head(source).position
    if sealed > position:
        raise BrokenLog(PARTITION, position + 1, sealed, "sealed events are missing")


def _view(source: Store) -> _View:
    """Return claims and digests at one position, as far as others do not fold meanwhile."""
    [head], claims = source.log.claims()
    source.folder.catch_up(head.position)
    digests = {projection.NAME: source.folder.digest(projection) for projection in catalog.ALL}
    return _View(
        head.position,
        claims,
        {name: digest for name, (position, digest) in digests.items() if position == head.position},
    )


def _head(store: Store) -> Head:
    return store.log.heads()[PARTITION]


def _quietly(what: str, done: int, total: int) -> None:
    """Report nothing."""
