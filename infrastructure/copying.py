"""Copies a store to another place, or moves it there, and proves that nothing was lost.

The records go over byte for byte in the order of their positions, and are read back. The target's
own head is the cursor: whatever broke off goes on from there, and a second run finds nothing to do.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from time import monotonic

from refold.domain.errors import BrokenLog, ForeignTarget, Moved, Refused
from refold.domain.ports import Claim, Head, Recorded, State
from refold.infrastructure.certificate import Certificate, TableProof
from refold.infrastructure.chain import Walk, pages
from refold.infrastructure.folding import PARTITION, Digest
from refold.infrastructure.store import Store
from refold.projections import catalog

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many positions of it are done, of how many."""


def copy(source: Store, target: Store, progress: Progress | None = None) -> Certificate:
    """Bring `target` to where `source` stands now, and compare them there.

    The source stays open. The target takes no commands until it is equal. Raises `ForeignTarget`
    when it holds another history, `BrokenLog` when the source is damaged; what differs otherwise
    is in the certificate.
    """
    _check_target(source, target, sealed_for=None)
    return _Copy(source, target, progress or _quietly).certified()


def move(source: Store, target: Store, progress: Progress | None = None) -> Certificate:
    """Copy `source`, seal it, copy what was appended meanwhile, compare, and open `target`.

    When they differ, and this run sealed the source, it is opened again. Broken off behind the
    seal, the move has to be run again: nobody but the target can say how far it came. Raises what
    `copy` raises, and `Moved` when the source was sealed for another target.
    """
    _check_target(source, target, sealed_for=source.address.public)
    copying = _Copy(source, target, progress or _quietly)
    address = target.address.public
    head = _head(source)
    if head.state is State.SEALED and head.successor != address:
        raise Moved(head.successor or "an unknown address")
    copying.carry(head.position)
    source.log.change_state(State.SEALED, successor=address)
    certificate = copying.certified()
    if head.state is State.OPEN and not certificate.equal:
        source.log.change_state(State.OPEN)
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
        _check_tail(source, self._sealed_before)
        self._walk = Walk(PARTITION, standing)

    def certified(self) -> Certificate:
        """Carry over what is missing, compare everything, and open the target if it is equal."""
        view = _view(self._source)
        self.carry(view.position)
        self._compare_seals()
        if not self._differences:
            self._restore_claims(view)
        tables = [] if self._differences else self._compare_tables(view)
        if not self._differences:
            self._source.log.add_seals(self._walk.fresh)
            self._target.log.add_seals(self._walk.seals)
            if _head(self._target).state is not State.OPEN:
                self._target.log.change_state(State.OPEN)
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
            differences=self._differences,
            seconds=monotonic() - self._started,
        )

    def carry(self, until: int) -> None:
        """Bring all events up to `until` to the target, and read each of them back.

        While a page is brought there, the next one is read from the source.
        """
        self._progress("copy", self._walk.position, until)
        with ThreadPoolExecutor(1) as beside:
            bringing: Future[None] | None = None
            for page in pages(self._source.log, PARTITION, self._walk.position, until):
                self._walk.over(page)
                self._types.update(record.type for record in page)
                if bringing:
                    bringing.result()
                if self._differences:
                    return
                bringing = beside.submit(self._bring, page)
                self._progress("copy", self._walk.position, until)
            if bringing:
                bringing.result()

    def _bring(self, page: list[Recorded]) -> None:
        """Write those events of `page` that the target lacks; the first that differs is noted."""
        there = self._at_target(page)
        if there == page[: len(there)] and len(there) < len(page):
            self._fill()
            self._target.log.receive(page[len(there) :])
            there = self._at_target(page)
        if there != page:
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

    def _fill(self) -> None:
        """Close the target for all but this copy; it takes over the source's history."""
        if _head(self._target).state is State.FILLING:
            return
        self._target.log.change_state(State.FILLING, log_id=self._source.log.identity().log_id)

    def _restore_claims(self, view: _View) -> None:
        if self._target.log.claims()[1] == view.claims:
            return
        if _head(self._target).state is State.FILLING:
            self._target.log.replace_claims(view.claims)
        elif _head(self._target).position == view.position:
            self._differences.append("the claims differ")

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


def _check_target(source: Store, target: Store, *, sealed_for: str | None) -> None:
    """Raise a `Refused` unless `target` may be filled; a sealed one only on the way back."""
    ours, theirs, head = source.log.identity(), target.log.identity(), _head(target)
    if ours.store_id == theirs.store_id:
        raise Refused(f"{target.address.public} is the source itself")
    if ours.log_id != theirs.log_id and head.position:
        raise ForeignTarget(
            f"{target.address.public} holds {head.position} events of another history"
        )
    if head.state is State.SEALED and head.successor != sealed_for:
        raise Moved(head.successor or "an unknown address")


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
