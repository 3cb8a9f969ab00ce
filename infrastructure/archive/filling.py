"""Fills a store from an archive, and proves that it has what the archive has."""

from collections.abc import Iterable, Iterator, Sequence
from time import monotonic, time_ns
from typing import Any, Final, NamedTuple

from refold.domain import streams
from refold.domain.errors import BrokenLog, ForeignTarget, Moved, Refused
from refold.domain.ports import Claim, Key, Recorded, Seal, State
from refold.domain.positions import PARTITION, Positions
from refold.domain.sealing import MARK, Sealed, marks
from refold.infrastructure import chain, limits, lots
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import verifying
from refold.infrastructure.archive.reading import Reading, events, opened
from refold.infrastructure.archive.verifying import Report
from refold.infrastructure.blobs.inventory import inventory
from refold.infrastructure.claiming import CLAIMING, evolve, held
from refold.infrastructure.codec import EVENTS
from refold.infrastructure.moving.certificate import Certificate, End, TableProof, VaultProof
from refold.infrastructure.moving.delivering import Delivery, differing_seal
from refold.infrastructure.moving.heads import head, held_by_a_move, open_filled
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store
from refold.projections import catalog

STREAMS: Final = 500
"""Streams whose events are read at once to find what they claim."""


class KeysLeftOut(Refused):
    """An archive without keys has sealed fields, which the store could never open."""


class Survey(NamedTuple):
    """What an archive holds, and the subjects of its sealed fields."""

    place: Archive
    report: Report
    sealed: frozenset[str]


def survey(place: Archive, *, damaged: bool = False, progress: Progress = quietly) -> Survey:
    """Verify an archive from beginning to end, before any store is filled from it.

    Raises `BrokenLog` for a damaged archive; with `damaged`, what stands before its first damaged
    block is surveyed. Raises what `verifying.verify` raises.
    """
    sealed = set[str]()
    report = verifying.verify(place, progress, lambda page: sealed.update(subjects(page)))
    if report.bad and not damaged:
        raise report.bad
    return Survey(place, report, frozenset(sealed))


def fill(
    survey: Survey,
    target: Store,
    *,
    without_keys: bool = False,
    progress: Progress = quietly,
) -> Certificate:
    """Bring `target` to where an archive ends, and compare what it holds then.

    The target takes no commands until it has all, and goes on where it was when this was broken
    off. Claims and tables are folded again. With `without_keys`, sealed fields whose keys are
    nowhere are erased for ever. Blobs are not in an archive: those that are missing at the target
    are differences, but do not keep it closed.

    Raises `KeysLeftOut`, `ForeignTarget` when the target has other events, goes on further or is
    filled by another meanwhile, `Moved` when it is sealed, `NoPlaceForBlobs`, and `NoVaultKey` or
    `WrongVaultKey` when it cannot open the archive's keys.
    """
    began = monotonic()
    filling = _Filling(survey, target, progress)
    filling.check()
    lost = check_keys(survey, target.log.keys(), without_keys=without_keys)
    filling.carry([*(survey.report.keys or ()), *_erased(lost)])
    filling.finish()
    return filling.certificate(monotonic() - began)


def subjects(records: Iterable[Recorded]) -> Iterator[str]:
    """Yield the subjects of sealed fields. Raises `UnknownType` and `Undecodable`."""
    for record in records:
        if _SEALED in record.data:
            value = EVENTS.decode(record).value
            event: type = type(value)
            for name in marks(event):
                if isinstance(box := getattr(value, name), Sealed):
                    yield box.subject


_SEALED: Final = f'"{MARK}":'.encode()


def check_keys(survey: Survey, known: Iterable[Key], *, without_keys: bool) -> list[str]:
    """Return the subjects whose keys are neither in the archive nor `known`.

    Raises `KeysLeftOut` when there are some, and they are not to be erased.
    """
    there = {key.subject for key in (*(survey.report.keys or ()), *known)}
    lost = sorted(survey.sealed - there)
    if lost and not without_keys:
        raise KeysLeftOut(
            f"the archive has sealed fields of {len(lost)} subjects and not their keys: make it"
            " with --with-keys, or give --without-keys to have these fields erased for ever"
        )
    return lost


def _erased(subjects: Iterable[str]) -> Iterator[Key]:
    """Yield keys that say that nothing is sealed for these subjects again."""
    now = time_ns() // 1_000
    return (Key(subject, None, now) for subject in subjects)


class _Filling:
    """One run from an archive to a store; what differs is in `differences`."""

    def __init__(self, survey: Survey, target: Store, progress: Progress) -> None:
        self._place, self._report = survey.place, survey.report
        self._target = target
        self._progress = progress
        self._seals: list[Seal] = []
        self._claiming: set[str] = set()
        self._claims: Sequence[Claim] = ()
        self._tables: Sequence[TableProof] = ()
        self._has_keys = False
        self._blobs = inventory(target, progress)
        self.differences: list[str] = []

    def check(self) -> None:
        """Raise a `Refused` unless the target may be filled."""
        there, address = self._target.log.heads()[PARTITION], self._target.address.public
        if self._target.log.partitions > 1:
            raise Refused(f"{address} has several partitions, and an archive has one")
        if there.state is State.SEALED:
            raise Moved(there.successor or "an unknown address")
        if there.state is State.FILLING and there.successor:
            raise held_by_a_move(address, there.successor)
        if there.position and self._target.log.identity().log_id != self._report.log_id:
            raise ForeignTarget(f"{address} holds {there.position} events of another history")
        if there.position > self._report.position:
            raise ForeignTarget(
                f"{address} goes on to position {there.position}, the archive ends at"
                f" {self._report.position}"
            )
        if self._report.blobs:
            _ = self._target.blobs  # which raises NoPlaceForBlobs

    def carry(self, keys: Sequence[Key]) -> None:
        """Bring the events and keys that the target lacks, and read all events back.

        Nothing is changed at a target that holds something else.
        """
        self._progress("copy", 0, self._report.position)
        before = {key.subject: key.wrapped for key in self._target.log.keys()}
        live = [key for key in keys if key.wrapped is not None]
        if any(before.get(key.subject) not in (None, key.wrapped) for key in live):
            self.differences.append("the vaults differ")
            return
        if self._target.log.identity().log_id != self._report.log_id:
            self._close(Positions((0,)))

        def begin(there: Positions) -> None:
            self._close(there)
            if not self._has_keys:
                self._carry_keys(keys)

        Delivery(self._target.log, begin, self.differences).deliver(self._pages())
        self._target.log.create_indexes()
        if not self.differences:
            self._carry_keys(keys)

    def _carry_keys(self, keys: Sequence[Key]) -> None:
        """Bring keys to the target, which has to be able to open them; erased ones win there."""
        self._has_keys = True
        log = self._target.log
        before = {key.subject: key.wrapped for key in log.keys()}
        if any(before.get(key.subject, b"") not in (None, key.wrapped) for key in keys):
            self._close(self._end)
            log.merge_keys(keys)
        for key in [key for key in keys if key.wrapped is not None][:1]:
            self._target.vault.unwrap(key.subject, key.wrapped or b"")
        after = {key.subject: key.wrapped for key in log.keys()}
        if any(after.get(key.subject, b"") not in (None, key.wrapped) for key in keys):
            self.differences.append("the vaults differ")

    def finish(self) -> None:
        """Make claims and tables of the events, and open the target if nothing differs."""
        if self.differences:
            return
        self._carry_claims()
        if seal := differing_seal(self._target.log, PARTITION, self._seals):
            self.differences.append(f"the target's seal at position {seal.position} differs")
        folder = self._target.folder
        folder.catch_up(self._end, progress=self._progress)
        self._tables = [TableProof(each.NAME, folder.digest(each)[1], None) for each in catalog.ALL]
        if not self.differences:
            self._target.log.add_seals(self._seals)
            if head(self._target).state is not State.OPEN:
                open_filled(self._target, None, self._end)
        self._blobs.add(sorted(self._report.blobs))
        self.differences += self._blobs.proof().differences

    def certificate(self, seconds: float) -> Certificate:
        """Return what was found out; the archive has no tables to compare with."""
        report = self._report
        return Certificate(
            source=report.archive,
            target=self._target.address.public,
            target_id=self._target.log.identity().store_id,
            log_id=report.log_id,
            ends=[End(PARTITION, report.position, report.chain)],
            seals=len(self._seals),
            sealed_before=self._end,
            types=dict(report.types),
            tables=self._tables,
            tables_at=self._end,
            claims=len(self._claims),
            vault=VaultProof.of(self._target.log.keys()),
            blobs=self._blobs.proof(),
            differences=self.differences,
            seconds=seconds,
        )

    # --- events -----------------------------------------------------------------------

    def _pages(self) -> Iterator[list[Recorded]]:
        """Yield the events that the report is about, and note what may hold claims."""
        for page in self._read():
            self._claiming.update(
                record.stream for record in page if streams.kind(record.stream) in CLAIMING
            )
            yield page
            self._progress("copy", page[-1].position, self._report.position)

    def _read(self) -> Iterator[list[Recorded]]:
        until, page, size = self._report.position, list[Recorded](), 0
        if not until:
            return
        with opened(self._place) as file:
            reading = Reading(self._place, file)
            for block in events(reading):
                page += block
                size += lots.size(block)
                if reading.position % chain.GRID == 0:
                    self._seals.append(Seal(PARTITION, reading.position, reading.chain))
                if reading.position >= until:
                    if (reading.position, reading.chain) != (until, self._report.chain):
                        raise BrokenLog(PARTITION, 1, until, "the archive was replaced meanwhile")
                    yield page
                    return
                if len(page) >= chain.PAGE or size >= limits.PAGE_BYTES:
                    yield page
                    page, size = [], 0

    # --- the target -------------------------------------------------------------------

    @property
    def _end(self) -> Positions:
        return Positions((self._report.position,))

    def _close(self, there: Positions) -> None:
        """Close the target for all but this run, and give it the name of the archive's history.

        Raises `ForeignTarget` when a command went in behind `there` meanwhile.
        """
        log, log_id = self._target.log, self._report.log_id
        if head(self._target).state is State.OPEN:
            [now] = log.change_state(State.FILLING, expected=State.OPEN)
            if (now.position,) != there.each:
                log.change_state(State.OPEN, expected=State.FILLING)
                raise ForeignTarget(
                    f"{self._target.address.public} took a command at position {now.position}"
                    " while it was to be filled"
                )
        if log.identity().log_id != log_id:
            log.change_state(State.FILLING, expected=(State.FILLING, None), log_id=log_id)

    def _carry_claims(self) -> None:
        """Fold the claims of all streams, and make them the target's only ones."""
        self._claims = self._folded_claims()
        _, claims, trackings = self._target.log.claims()
        if claims == self._claims:
            return
        if head(self._target).state is not State.FILLING:
            self.differences.append("the claims differ")
        elif not self._target.log.replace_claims(self._claims, trackings, self._end):
            raise ForeignTarget(f"{self._target.address.public} was filled further meanwhile")

    def _folded_claims(self) -> list[Claim]:
        target, names, found = self._target, sorted(self._claiming), list[Claim]()
        for start in range(0, len(names), STREAMS):
            states: dict[str, Any] = {}
            records = target.log.streams(names[start : start + STREAMS])
            evolve(states, target.codec.decode_kinds(records, frozenset(CLAIMING)))
            found += held(target, states)
        return sorted(found)
