"""Carries a log from one store to another, byte for byte, in the order of its positions.

Partitions, of which both have the same number, are carried one after the other.

The records are read back. The target's own head is the cursor: whatever broke off goes on from
there, and a second run finds nothing to do. The chain is that of the source's bytes.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import takewhile
from typing import Final, NamedTuple

from refold.domain.errors import (
    BlobDiffers,
    BrokenLog,
    Filling,
    ForeignTarget,
    Moved,
    NoSuchBlob,
    Refused,
)
from refold.domain.ports import Claim, Key, Recorded, State, Tracked, ends
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.blobs.inventory import Count, Inventory, Seen, counted, read
from refold.infrastructure.blobs.references import References
from refold.infrastructure.chain import Walk, pages
from refold.infrastructure.failpoints import reach
from refold.infrastructure.folding.building import Progress
from refold.infrastructure.moving.certificate import TrackingProof, VaultProof
from refold.infrastructure.store import Store

PAGES_UNDER_WAY: Final = 2
"""Pages that are being written or read back while the next one is fetched."""


class LogHead(NamedTuple):
    """Where the log of a store stands, and what it does with commands, in all partitions alike."""

    positions: Positions
    state: State
    successor: str | None


class Carrier:
    """One run over the log of `source`, and beside it over the same events at `target`.

    What differs is in `differences`, each in a sentence; then nothing is written any more.
    """

    def __init__(self, source: Store, target: Store, progress: Progress | None = None) -> None:
        """Raises `BrokenLog` when events that were sealed are gone."""
        self.source, self.target = source, target
        self.differences: list[str] = []
        self.types: Counter[str] = Counter()
        self.vault = VaultProof.of([])
        self.claims = 0
        self.trackings = TrackingProof.of([])
        standing = [source.log.seals(each) for each in range(source.log.partitions)]
        self.walks = [Walk(*each) for each in enumerate(standing)]
        self.sealed_before = sealed(source)
        _check_tail(source, self.sealed_before)
        self.progress = progress or _quietly
        self.blobs = Inventory(self._carry_blob, self.progress)
        self._holder: str | None = None
        self._keys: set[Key] = set()
        self._references = References(source.codec)
        self._removed: set[str] = set()
        self._has_claims = False
        self._there = Positions((0,) * len(self.walks))

    @property
    def positions(self) -> Positions:
        """Return up to where the target holds what the source does."""
        return Positions(tuple(walk.position for walk in self.walks))

    def close(self, before: LogHead) -> None:
        """Close the target, which stood as `before`, for all but a move from the source.

        It says to commands that they belong there. From then on it is never closed again: who
        opens it has the last word, and that is no copy which began before. Raises `ForeignTarget`
        when it has taken a command since, and `Refused` when another has opened it.
        """
        self._holder = self.source.address.public
        self._close(before, before.positions)

    def carry(self, until: Positions) -> None:
        """Bring all events up to `until` to the target, and read each of them back.

        While one page is written, the one before is read back and the next one is fetched. Keys
        come first: the target may fold an event as soon as it is there.
        """
        self.progress("copy", self.positions.total, until.total)
        if not self.positions.covers(until):
            self.carry_keys()
        if self.target.log.identity().log_id != self.source.log.identity().log_id:
            self._fill(Positions((0,) * len(self.walks)))
        self._there = head(self.target).positions
        if len(self.walks) > 1:
            self._compare_ends()
        for walk, end in zip(self.walks, until.each, strict=True):
            if not self.differences:
                self._carry(walk, end, until.total)

    def _compare_ends(self) -> None:
        """Tell as a difference where the target went on by itself, before anything is written."""
        for partition, end in enumerate(self._there):
            ours, theirs = (
                store.log.page(partition, end - 1, 1) if end else []
                for store in (self.source, self.target)
            )
            if ours and ours != theirs:
                where = self.positions.named(partition, end)
                self.differences.append(f"the logs differ at position {where} or before")

    def _carry(self, walk: Walk, until: int, total: int) -> None:
        """Carry one partition."""
        with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as reader:
            under_way: deque[Future[None]] = deque()
            for page in pages(self.source.log, walk.partition, walk.position, until):
                walk.over(page)
                self._note(page)
                writing = writer.submit(self._write, page)
                under_way.append(reader.submit(self._read_back, page, writing))
                if len(under_way) > PAGES_UNDER_WAY:
                    under_way.popleft().result()
                if self.differences:
                    break
                self.progress("copy", self.positions.total, total)
            for last in under_way:
                last.result()

    def over(self, page: Sequence[Recorded]) -> None:
        """Go over the next events of several partitions, which somebody else brings over."""
        for walk in self.walks:
            walk.over([each for each in page if each.partition == walk.partition])
        self._note(page)

    def _note(self, page: Sequence[Recorded]) -> None:
        self.types.update(record.type for record in page)
        self._carry_blobs(page)

    def _carry_blobs(self, page: Sequence[Recorded]) -> None:
        """Bring the blobs that events refer to over, before the events; note removed ones."""
        named, removed = set[str](), set[str]()
        for record in self.source.codec.about_blobs(page):
            named.update(self.source.codec.blobs(record))
            removed.update(self.source.codec.removed_blobs(record))
        self._references.over(page)
        needed = set(filter(self._references.needed, named))
        removed = {each for each in removed if not self._references.needed(each)}
        self.blobs.add(sorted(needed))
        self.blobs.forget(removed)
        self._removed -= needed
        self._removed |= removed

    def _carry_blob(self, sha256: str, count: Count) -> Seen:
        """Bring a blob over unless it is there, whole; and read it there."""
        with suppress(NoSuchBlob, BlobDiffers):
            return read(self.target.blobs, sha256, count)
        content = counted(self.source.blobs.get(sha256), count)
        self.target.blobs.put(_in_pieces(content), expected=sha256)
        return Seen(read(self.target.blobs, sha256, _nobody).size, was_sent=True)

    def _write(self, page: list[Recorded]) -> bool:
        """Write those events of `page` that the target lacks, and tell whether there were any.

        Nothing is written behind an event that differs.
        """
        while True:
            there = self._at_target(page)
            self._compare(page[: len(there)], there)
            if self.differences or len(there) == len(page):
                return False
            partition = page[0].partition
            self._there = self._there.with_one(partition, page[0].position - 1 + len(there))
            self._fill(self._there)
            try:
                self.target.log.receive(page[len(there) :])
            except Refused:
                if len(self._at_target(page)) <= len(there):
                    raise
                continue  # another who carries the same was faster
            self._there = self._there.with_one(partition, page[-1].position)
            reach("copy: page written")
            return True

    def _read_back(self, page: list[Recorded], writing: Future[bool]) -> None:
        if writing.result():
            self._compare(page, self._at_target(page))

    def _compare(self, page: list[Recorded], there: list[Recorded]) -> None:
        if page != there:
            pairs = zip(page, there, strict=False)
            same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
            where = self.positions.named(page[0].partition, page[0].position + same)
            self.differences.append(f"the logs differ from position {where} on")

    def _at_target(self, page: list[Recorded]) -> list[Recorded]:
        return self.target.log.page(page[0].partition, page[0].position - 1, len(page))

    def _compare_seals(self) -> None:
        for walk in self.walks:
            seals = self.target.log.seals(walk.partition)
            standing = {seal.position: seal.chain for seal in seals}
            for seal in walk.seals:
                if standing.get(seal.position, seal.chain) != seal.chain:
                    where = self.positions.named(walk.partition, seal.position)
                    self.differences.append(f"the target's seal at position {where} differs")
                    return

    def _fill(self, there: Positions) -> None:
        """Close the target for all but this copy; it takes over the source's history.

        Raises `ForeignTarget` when a command went in behind `there` meanwhile.
        """
        before = head(self.target)
        if before.state is not State.FILLING:
            if self._holder:
                raise ForeignTarget(f"{self.target.address.public} was opened meanwhile")
            self._close(before, there)
        log_id = self.source.log.identity().log_id
        if self.target.log.identity().log_id != log_id:
            self.target.log.change_state(
                State.FILLING,
                expected=(State.FILLING, self._holder),
                successor=self._holder,
                log_id=log_id,
            )

    def _close(self, before: LogHead, there: Positions) -> None:
        heads = self.target.log.change_state(
            State.FILLING, expected=(before.state, before.successor), successor=self._holder
        )
        now = ends(heads)
        if before.state is not State.FILLING and now != there:
            self.target.log.change_state(
                before.state, expected=(State.FILLING, self._holder), successor=before.successor
            )
            raise ForeignTarget(
                f"{self.target.address.public} took a command at position {now}"
                " while it was to be filled"
            )

    # --- what is no event -----------------------------------------------------------

    def carry_keys(self) -> None:
        """Bring the keys of sealed fields over; one that is erased anywhere wins there."""
        keys = self.source.log.keys()
        self.vault = VaultProof.of(keys)
        fresh = [key for key in keys if key not in self._keys]
        if fresh and not self.differences:
            self.target.vault.take_over(self.source.vault)
            self.target.log.merge_keys(fresh)
            self._keys.update(fresh)

    def check_keys(self) -> None:
        """Tell as a difference when the target has other keys than were carried."""
        if self.vault.keys and VaultProof.of(self.target.log.keys()) != self.vault:
            self.differences.append("the vaults differ")

    def carry_claims(
        self, claims: Sequence[Claim], trackings: Sequence[Tracked], positions: Positions
    ) -> None:
        """Make those that the source has at `positions` the target's if that ends there.

        An open target that holds all events is closed for it only where the source is just ahead.
        """
        self.claims, self.trackings = len(claims), TrackingProof.of(trackings)
        if self.differences:
            return
        there = self.target.log.claims()
        if (
            there.positions == positions
            and _lacks(there.trackings, trackings)
            and not _lacks(trackings, there.trackings)
        ):
            self._fill(positions)
        if head(self.target).state is State.FILLING:
            self._has_claims = self.target.log.replace_claims(claims, trackings, positions)
            there = self.target.log.claims()
        if there.positions != positions:
            return
        if there.claims != claims:
            self.differences.append("the claims differ")
        goes_on = head(self.source).state is State.SEALED  # where it moved to
        if there.trackings != trackings and not goes_on:
            self.differences.append("the trackings differ")

    def give_claims(self, claims: Sequence[Claim], ends: Positions) -> None:
        """Make these the only claims of a target that ends where nothing but this run wrote."""
        self.claims = len(claims)
        if self.differences:
            return
        self._has_claims = self.target.log.replace_claims(claims, (), ends)
        there = self.target.log.claims()
        if not self._has_claims:
            self.differences.append(f"the target ends at position {there.positions}, not {ends}")
        elif there.claims != claims:
            self.differences.append("the claims differ")

    def check_blobs(self) -> None:
        """Tell as a difference how many blobs are not whole at the target.

        Also see which ones at the source no event refers to; they stay there.
        """
        self.blobs.list_others(self.source.place_for_blobs)
        self._tell_blobs()

    def _tell_blobs(self) -> None:
        said = self.blobs.proof().differences
        self.differences += [each for each in said if each not in self.differences]

    def finish(self) -> None:
        """Unless something differs, remove contents, seal at both stores, and open the target."""
        self._compare_seals()
        self._tell_blobs()
        if self.differences:
            return
        self._remove_blobs()
        for walk in self.walks:
            self.source.log.add_seals(walk.fresh)
            self.target.log.add_seals(walk.seals)
        if head(self.target).state is not State.OPEN:
            self.open()

    def open(self) -> None:
        """Let the target take commands. Raises `ForeignTarget` where another has filled it."""
        if not self._has_claims:
            raise ForeignTarget(f"{self.target.address.public} was filled further meanwhile")
        self.target.log.change_state(State.OPEN, expected=(State.FILLING, self._holder))

    def _remove_blobs(self) -> None:
        """Remove what events say was removed, unless one behind them needs it, or a newer one."""
        for walk in self.walks if self._removed else ():
            end = head(self.source).positions[walk.partition]
            for page in pages(self.source.log, walk.partition, walk.position, end):
                for record in page:
                    self._removed.difference_update(self.source.codec.blobs(record))
        place = self.target.place_for_blobs
        for sha256 in sorted(self._removed) if place else ():
            self.target.blobs.delete(sha256)


def check(source: Store, target: Store, *, sealed_for: str | None) -> None:
    """Raise a `Refused` unless `source` may be copied to `target`.

    A sealed target is filled only on the way back, by a move of the store that it moved to.
    """
    ours, theirs = source.log.identity(), target.log.identity()
    from_head, to_head = head(source), head(target)
    address = target.address.public
    if ours.store_id == theirs.store_id:
        raise Refused(f"{address} is the source itself")
    if from_head.state is State.FILLING:
        raise Filling
    if to_head.state is State.SEALED and to_head.successor != sealed_for:
        raise Moved(to_head.successor or "an unknown address")
    if to_head.state is State.FILLING and to_head.successor not in (None, sealed_for):
        raise Refused(
            f"{address} is being filled by a move from {to_head.successor}, which has to be done"
            " or called off first"
        )
    if source.log.partitions != target.log.partitions:
        raise Refused(
            f"{address} has {target.log.partitions} partitions, the source has"
            f" {source.log.partitions}: refold move --partitions {target.log.partitions} re-numbers"
        )
    if ours.log_id != theirs.log_id and to_head.positions.total:
        raise ForeignTarget(f"{address} holds {to_head.positions.total} events of another history")
    if source.log.keys():
        target.vault.take_over(source.vault)
    moved_there = from_head.state is State.SEALED and from_head.successor == address
    moved_there = moved_there and to_head.state is not State.FILLING
    if not from_head.positions.covers(to_head.positions) and not moved_there:
        raise ForeignTarget(
            f"{address} goes on to position {to_head.positions}, the source ends at"
            f" {from_head.positions}"
        )


def _lacks(there: Sequence[Tracked], trackings: Sequence[Tracked]) -> bool:
    """Tell whether some of `trackings` are missing `there`, or behind."""
    stands = {each.application: each.position for each in there}
    return any(stands.get(each.application, -1) < each.position for each in trackings)


def _check_tail(source: Store, sealed: Positions) -> None:
    """Raise `BrokenLog` when events that were sealed are gone."""
    there = head(source).positions
    for partition, (end, last) in enumerate(zip(there.each, sealed.each, strict=True)):
        if last > end:
            raise BrokenLog(partition, end + 1, last, "sealed events are missing")


def sealed(store: Store) -> Positions:
    """Return up to where a log is sealed."""
    partitions = range(store.log.partitions)
    return Positions(tuple(chain.sealed(store.log.seals(each)) for each in partitions))


def head(store: Store) -> LogHead:
    """Return where the log of a store stands."""
    heads = store.log.heads()
    positions = ends(heads)
    return LogHead(positions, heads[0].state, heads[0].successor)


def _in_pieces(content: Iterable[bytes]) -> Iterator[bytes]:
    for number, chunk in enumerate(content):
        if number:
            reach("blobs: inside one")
        yield chunk


def _nobody(size: int) -> None:
    """Count nothing."""


def _quietly(what: str, done: int, total: int) -> None:
    """Report nothing."""
