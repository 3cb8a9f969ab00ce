"""Fills new generations from the first event, in parts that are split by family.

A part has all events of its families, so it is folded in memory: no row is loaded or changed in the
table, each is written once, in the order of the keys. The log is read once; where it makes more
than one part, the events wait in temporary files for it. Workers may read stretches of the log and
fold parts at the same time. A part is saved with a checkpoint of its own: a building that was
broken off goes on with the parts that are missing.
"""

import marshal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import ceil
from pathlib import Path
from struct import Struct
from tempfile import TemporaryDirectory, gettempdir
from typing import Any, Final, Protocol

import sqlalchemy as sa

from refold.domain import streams
from refold.domain.errors import Unavailable
from refold.domain.ports import Log, Recorded
from refold.domain.positions import Positions
from refold.infrastructure import chain, limits, lots
from refold.infrastructure.codec import Codec
from refold.infrastructure.failpoints import reach
from refold.infrastructure.folding.generations import BUILDING, Checkpoint, Generation, Plan
from refold.infrastructure.folding.pages import PageReader
from refold.infrastructure.folding.tables import Refolded, Tables
from refold.infrastructure.garbage import without_collection
from refold.infrastructure.patience import patiently
from refold.infrastructure.progress import Progress
from refold.projections.projection import Folded, fold, kinds

WORTH_WORKERS: Final = 20_000
"""Events of a log that is worth to be split among processes."""

STRETCH: Final = 25_000
"""Events that are read for all parts at once."""

LOT: Final = 1_000
"""Events of a part that are decoded and folded at once: so few stay in the processor's cache."""

SAVE_SECONDS: Final = 600.0
"""How long a part waits where one saves at a time: others save long ones, too."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events behind `after` up to `until`, which are to wait in `folder`, in a file a part."""

    plan: Plan
    after: int
    until: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Part:
    """The events of some families that are to be folded into generations.

    They wait in `folder`, in a file of each stretch that begins behind one of `starts`.
    """

    number: int
    plan: Plan
    generations: tuple[tuple[str, int], ...]
    folder: Path
    starts: range


@dataclass(frozen=True, slots=True)
class CatchUp:
    """What is in the log and not in the live tables, also of what is appended meanwhile."""


Piece = Stretch | Part
Job = Piece | CatchUp


class Workers(Protocol):
    """Processes that have the same store open, this one among them."""

    @property
    def number(self) -> int:
        """Return how many there are."""
        ...

    def do(self, jobs: Iterable[Piece], here: Callable[[Piece], None]) -> Iterator[None]:
        """Do all of `jobs`, some of them by `here` in this process, and yield once for each."""
        ...

    def begin(self, job: Job) -> Future[None]:
        """Let another process do `job`, and return at once."""
        ...


class Builder:
    """Fills generations of one store."""

    def __init__(
        self,
        log: Log,
        tables: Tables,
        codec: Codec,
        workers: Workers | None = None,
    ) -> None:
        """Without workers, this process folds all parts."""
        self._log, self._tables, self._codec, self._workers = log, tables, codec, workers

    def fill(self, generations: Sequence[Generation], goal: Positions, progress: Progress) -> None:
        """Fill `generations` with the log up to `goal`, or to where their filling was to end.

        Raises `UnknownType` or `Undecodable` at an
        event that cannot be read, and `Unavailable` when there is no room for temporary files.
        """
        groups: dict[Plan, list[Generation]] = {}
        new = [self._new_plan(*each) for each in enumerate(goal.each) if each[1]]
        with self._tables.writing(BUILDING) as connection:
            for generation in generations:
                plans = self._tables.plans(connection, generation)
                for plan in new:
                    if plan.partition not in plans:
                        self._tables.save_plan(connection, generation, plan)
                        plans[plan.partition] = plan
                for plan in plans.values():
                    groups.setdefault(plan, []).append(generation)
        for plan, group in groups.items():
            self._carry_out(plan, group, progress)

    def do(self, job: Piece) -> None:
        """Do a part of the work that `fill` has split."""
        with without_collection():
            match job:
                case Stretch():
                    self._spool(job)
                case Part():
                    self._fold_part(job)

    # --- plans ----------------------------------------------------------------------

    def _new_plan(self, partition: int, goal: int) -> Plan:
        [last] = self._log.page(partition, goal - 1, 1)
        parts = ceil(goal / self._tables.rows.events_a_part)
        if self._workers and goal >= WORTH_WORKERS:
            parts = self._workers.number * ceil(parts / self._workers.number)
        return Plan(partition, parts, goal, chain.digest(last))

    def _carry_out(self, plan: Plan, generations: Sequence[Generation], progress: Progress) -> None:
        missing = set[int]()
        with self._tables.reading() as connection:
            for generation in generations:
                missing |= self._missing(connection, generation, plan)
        if plan.parts == 1 and missing:
            with PageReader(self._log, plan.partition) as reader, without_collection():
                pages = _watched(reader.pages(plan.position), "fold", plan.position, progress)
                self._fold(plan, 0, generations, pages)
        elif missing:
            self._carry_out_parts(plan, generations, missing, progress)

    def _carry_out_parts(
        self,
        plan: Plan,
        generations: Sequence[Generation],
        missing: set[int],
        progress: Progress,
    ) -> None:
        names = tuple((each.projection.NAME, each.number) for each in generations)
        with _spool_folder() as folder:
            starts = range(0, plan.position, STRETCH)
            stretches = [
                Stretch(plan, after, min(after + STRETCH, plan.position), folder)
                for after in starts
            ]
            parts = [Part(part, plan, names, folder, starts) for part in sorted(missing)]
            for what, jobs in ("read", stretches), ("fold", parts):
                progress(what, 0, len(jobs))
                doing = self._workers.do(jobs, self.do) if self._workers else map(self.do, jobs)
                for done, _ in enumerate(doing, 1):
                    progress(what, done, len(jobs))

    def _spool(self, stretch: Stretch) -> None:
        """Write the events of each part into its file."""
        plan = stretch.plan
        waiting: list[list[tuple[object, ...]]] = [[] for _ in range(plan.parts)]
        share = partial(streams.share, partitions=self._log.partitions, parts=plan.parts)
        size = 0
        for page in chain.pages(self._log, plan.partition, stretch.after, stretch.until):
            for record in page:
                waiting[share(record.stream)].append(record[:])
            size += lots.size(page)
            if size >= limits.PAGE_BYTES:
                _write_out(stretch, waiting)
                size = 0
        _write_out(stretch, waiting)

    # --- parts ----------------------------------------------------------------------

    def _fold_part(self, part: Part) -> None:
        with self._tables.reading() as connection:
            generations = [
                generation
                for generation in self._tables.generations(connection)
                if (generation.projection.NAME, generation.number) in part.generations
            ]
        files = (_file(part.folder, part.number, after) for after in part.starts)
        pages = (lot for file in files for lot in _spooled(file))
        self._fold(part.plan, part.number, generations, pages)

    def _fold(
        self,
        plan: Plan,
        part: int,
        generations: Sequence[Generation],
        pages: Iterable[Iterable[Recorded]],
    ) -> None:
        folded = [Folded(each.projection, {}, {}) for each in generations]
        wanted = kinds(each.projection for each in generations)
        for page in pages:
            fold(folded, self._codec.decode_kinds(page, wanted))
        patiently(partial(self._save, plan, part, generations, folded), SAVE_SECONDS)
        reach("rebuild: part saved")

    def _save(
        self, plan: Plan, part: int, generations: Sequence[Generation], folded: Sequence[Folded]
    ) -> None:
        self._tables.make_way()
        with self._tables.writing(f"{BUILDING} {part}") as connection:
            for generation, table in zip(generations, folded, strict=True):
                if self._is_missing(connection, generation, plan, part):
                    empty = Folded(generation.projection, {}, {})
                    self._tables.keep(
                        connection, [Refolded(generation, empty, table)], plan.position
                    )
                    self._save_checkpoint(connection, generation, plan, part)

    def _is_missing(
        self, connection: sa.Connection, generation: Generation, plan: Plan, part: int
    ) -> bool:
        """Tell whether the part is still wanted: no other process saved it or began anew."""
        return (
            generation in self._tables.generations(connection)
            and plan in self._tables.plans(connection, generation).values()
            and part in self._missing(connection, generation, plan)
        )

    def _missing(self, connection: sa.Connection, generation: Generation, plan: Plan) -> set[int]:
        """Return the parts that are not saved; none is when they were united since."""
        parts = self._tables.parts(connection, generation)
        saved = [each for each in parts if each.partition == plan.partition]
        if any(each.parts != plan.parts for each in saved):
            return set()
        return set(range(plan.parts)) - {each.part for each in saved}

    def _save_checkpoint(
        self, connection: sa.Connection, generation: Generation, plan: Plan, part: int
    ) -> None:
        """Keep that the part is saved; with the last one, the generation is whole."""
        self._tables.exclude(connection, BUILDING)
        parts = plan.parts
        if self._missing(connection, generation, plan) == {part}:
            self._tables.forget_parts(connection, generation, plan.partition)
            part, parts = 0, 1
        self._tables.save_checkpoint(
            connection,
            Checkpoint(
                generation.projection.NAME,
                generation.number,
                plan.partition,
                part,
                parts,
                self._log.identity().store_id,
                plan.position,
                plan.record_hash,
            ),
        )


def _file(folder: Path, part: int, after: int) -> Path:
    """Return where the events of a part wait that are in the stretch behind `after`, in order."""
    return folder / f"{part}-{after}"


_LENGTH: Final = Struct(">Q")


def _dumps(values: list[Any]) -> bytes:
    return marshal.dumps(values, 2)  # later versions look for equal objects


def _write_out(stretch: Stretch, waiting: list[list[tuple[object, ...]]]) -> None:
    """Put what waits for each part behind what is in its file."""
    with _room():
        for part, lot in enumerate(waiting):
            with _file(stretch.folder, part, stretch.after).open("ab") as file:
                for n in range(0, len(lot), LOT):
                    dumped = _dumps(lot[n : n + LOT])
                    file.writelines((_LENGTH.pack(len(dumped)), dumped))
            lot.clear()


def _spooled(file: Path) -> Iterator[Iterable[Recorded]]:
    """Yield the events of a part in a stretch of the log, a lot at a time."""
    with file.open("rb") as dumped:
        while length := dumped.read(_LENGTH.size):
            lot = marshal.loads(dumped.read(*_LENGTH.unpack(length)))  # noqa: S302 - our own file
            yield map(lots.record, lot)


@contextmanager
def _spool_folder() -> Iterator[Path]:
    """Give a folder that is gone afterwards, where temporary files are."""
    with _room():
        folder = TemporaryDirectory(prefix="refold-", ignore_cleanup_errors=True)
    with folder as path:
        yield Path(path)


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(
            f"events cannot be kept in temporary files in {gettempdir()}: {error.strerror}"
        ) from error


def _watched(
    pages: Iterable[list[Recorded]], what: str, total: int, progress: Progress
) -> Iterator[list[Recorded]]:
    for page in pages:
        yield page
        progress(what, page[-1].position, total)
