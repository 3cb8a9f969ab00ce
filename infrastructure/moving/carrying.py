"""Carries a log from one store to another, byte for byte, in the order of its positions.

Partitions, of which both have the same number, are carried one after the other.

The records are read back. The target's own head is the cursor: whatever broke off goes on from
there, and a second run finds nothing to do. The chain is that of the source's bytes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from refold.domain import streams
from refold.domain.errors import (
    BlobDiffers,
    BrokenLog,
    ForeignTarget,
    NoSuchBlob,
)
from refold.domain.ports import Claim, Key, Recorded, State, Tracked, ends
from refold.domain.positions import Positions
from refold.infrastructure.blobs.inventory import Count, Inventory, Seen, counted, read
from refold.infrastructure.blobs.references import References
from refold.infrastructure.chain import Walk, pages
from refold.infrastructure.erasing.clearing import clear
from refold.infrastructure.failpoints import reach
from refold.infrastructure.moving.certificate import TrackingProof, VaultProof
from refold.infrastructure.moving.delivering import Delivery, differing_seal
from refold.infrastructure.moving.heads import LogHead, head, open_filled, sealed_up_to
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store


class Carrier:
    """One run over the log of `source`, and beside it over the same events at `target`.

    What differs is in `differences`, each in a sentence; then nothing is written any more.
    """

    def __init__(self, source: Store, target: Store, progress: Progress = quietly) -> None:
        """Raises `BrokenLog` when events that were sealed are gone."""
        self.source, self.target = source, target
        self.differences: list[str] = []
        self.types: Counter[str] = Counter()
        self.vault = VaultProof.of([])
        self.claims = 0
        self.trackings = TrackingProof.of([])
        standing = [source.log.seals(each) for each in range(source.log.partitions)]
        self.walks = [Walk(*each) for each in enumerate(standing)]
        self.sealed_before = sealed_up_to(source)
        _check_tail(source, self.sealed_before)
        self.progress = progress
        self.blobs = Inventory(self._carry_blob, self.progress)
        self._holder: str | None = None
        self._keys: set[Key] = set()
        self._references = References(source.codec)
        self._removed: set[str] = set()
        self._claims_at: Positions | None = None
        self._erased: set[str] = set()
        self._had_events = head(target).positions.total > 0

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

        Keys come first, as the target may fold an event as soon as it is there; but none goes to a
        target that went on by itself.
        """
        self.progress("copy", self.positions.total, until.total)
        self.check_source()
        apart = self._ends_apart()
        if apart and len(self.walks) > 1:
            self.differences.append(f"the logs differ at position {apart} or before")
        if not apart and not self.positions.covers(until):
            self.carry_keys()
        if self.target.log.identity().log_id != self.source.log.identity().log_id:
            self._fill(Positions((0,) * len(self.walks)))
        delivery = Delivery(self.target.log, self._fill, self.differences)
        for walk, end in zip(self.walks, until.each, strict=True):
            if not self.differences:
                delivery.deliver(self._pages(walk, end, until.total))

    def check_source(self) -> None:
        """Raise `BrokenLog` where the source lost events that are at the target."""
        for walk in self.walks:
            walk.check_stands(self.source.log)

    def _ends_apart(self) -> str | None:
        """Return a position at which the target ends with another event than the source has."""
        for partition, end in enumerate(head(self.target).positions):
            ours, theirs = (
                store.log.page(partition, end - 1, 1) if end else []
                for store in (self.source, self.target)
            )
            if ours and ours != theirs:
                return self.positions.named(partition, end)
        return None

    def _pages(self, walk: Walk, until: int, total: int) -> Iterator[list[Recorded]]:
        """Yield the next events of a partition, whose blobs are brought over first."""
        for page in pages(self.source.log, walk.partition, walk.position, until):
            walk.over(page)
            self._note(page)
            yield page
            self.progress("copy", self.positions.total, total)

    def over(self, page: Sequence[Recorded]) -> None:
        """Go over the next events of several partitions, which somebody else brings over."""
        for walk in self.walks:
            walk.over([each for each in page if each.partition == walk.partition])
        self._note(page)

    def _note(self, page: Sequence[Recorded]) -> None:
        self.types.update(record.type for record in page)
        if self._had_events:
            erased = (record.stream for record in page if record.type == "user.erased")
            self._erased.update(map(streams.family_key, erased))
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

    def _compare_seals(self) -> None:
        for walk in self.walks:
            if seal := differing_seal(self.target.log, walk.partition, walk.seals):
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
                at=Positions((0,) * len(self.walks)),  # or another brought its history
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
        """Tell as a difference when the target has other keys than were carried.

        One that the source moved to may have new ones, and have erased some.
        """
        if not self.vault.keys:
            return
        there = self.target.log.keys()
        if head(self.source).state is State.SEALED and head(self.target).state is State.OPEN:
            known = {key.subject: key.wrapped for key in there}
            here = self.source.log.keys()
            differ = any(known.get(key.subject, b"") not in (None, key.wrapped) for key in here)
        else:
            differ = VaultProof.of(there) != self.vault
        if differ:
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
            was_there = self.target.log.replace_claims(claims, trackings, positions)
            self._claims_at = positions if was_there else None
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
        was_there = self.target.log.replace_claims(claims, (), ends)
        self._claims_at = ends if was_there else None
        there = self.target.log.claims()
        if not was_there:
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
        self.check_source()
        self._compare_seals()
        self._tell_blobs()
        if self.differences:
            return
        is_open = head(self.target).state is State.OPEN  # and goes on by itself
        if not is_open:
            self._remove_blobs()
            self.clear_tables()
        for walk in self.walks:
            self.source.log.add_seals(walk.fresh)
            self.target.log.add_seals(walk.seals)
        if not is_open:
            self.open()

    def clear_tables(self) -> None:
        """Clear what tables that the target had before keep for a rollback of who was erased."""
        if self._erased:
            clear(self.target, {"user": self._erased})
            self._erased.clear()

    def open(self) -> None:
        """Let the target take commands. Raises `ForeignTarget` where another has filled it."""
        open_filled(self.target, self._holder, self._claims_at)

    def _remove_blobs(self) -> None:
        """Remove what events say was removed, unless one behind them needs it, or a newer one.

        Not from a place that the source shares: an erasure there does, and looks who needs it.
        """
        for walk in self.walks if self._removed else ():
            end = head(self.source).positions[walk.partition]
            for page in pages(self.source.log, walk.partition, walk.position, end):
                for record in page:
                    self._removed.difference_update(self.source.codec.blobs(record))
        here, there = self.target.place_for_blobs, self.source.place_for_blobs
        if here and not (there and there.place == here.place):
            for sha256 in sorted(self._removed):
                here.delete(sha256)


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


def _in_pieces(content: Iterable[bytes]) -> Iterator[bytes]:
    for number, chunk in enumerate(content):
        if number:
            reach("blobs: inside one")
        yield chunk


def _nobody(size: int) -> None:
    """Count nothing."""
