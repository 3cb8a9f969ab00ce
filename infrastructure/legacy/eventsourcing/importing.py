"""Imports the eventsourcing library's own tables, each application into a store of its own."""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Any, Final
from uuid import UUID

from refold.domain.errors import BadInput, Conflict, Filling, Moved, Refused
from refold.domain.ports import Appended, Command, Log, Snapshot, Tracking, Write
from refold.domain.positions import PARTITION
from refold.domain.texts import check_text
from refold.infrastructure import applications, chain, originators
from refold.infrastructure.address import Address
from refold.infrastructure.legacy.eventsourcing import tables
from refold.infrastructure.legacy.eventsourcing.tables import Row, Tables
from refold.infrastructure.legacy.importing import Refusal, Report
from refold.infrastructure.limits import PAGE_BYTES
from refold.infrastructure.progress import Progress, quietly

BATCH: Final = 1_000
"""Events that go in with one commit."""


@dataclass(slots=True)
class Application:
    """What became of one application: its store, each of its events, and what is beside them.

    `trackings` are those that stand after the import, by application.
    """

    name: str
    store: str
    report: Report = field(default_factory=Report)
    snapshots: int = 0
    trackings: dict[str, int] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return what `--json` prints."""
        report = self.report
        return {
            "application": self.name,
            "store": self.store,
            "records": report.records,
            "imported": report.imported,
            "unchanged": report.unchanged,
            "refused": [refusal._asdict() for refusal in report.refused],
            "notes": [{"key": key, "note": note} for key, note in report.notes],
            "events": report.events,
            "snapshots": self.snapshots,
            "trackings": self.trackings,
            "seconds": round(report.seconds, 3),
        }


def import_eventsourcing(
    below: Address,
    source: Address,
    *,
    has_schema: bool = False,
    named: str = "",
    text_ids: bool = False,
    progress: Progress = quietly,
) -> list[Application]:
    """Import the tables at `source`, each application into its store below `below`.

    Events keep their order, ids and bytes, and get positions 1, 2, 3 …; trackings of applications
    that are imported with them are told in positions, too. Those of what has no events, such as a
    projection, are only noted. Again, only what is new is imported. `named` is the application
    whose tables have no name. Snapshots of an aggregate of which an event was refused are left out.
    Raises `BadInput`, also where its events are there under ids of another kind, and `Unavailable`.
    """
    with tables.opened(source, has_schema=has_schema, text_ids=text_ids) as found:
        prefixes = found.applications()
        if not prefixes:
            raise BadInput(f"{source.public} holds no events of the eventsourcing library")
        names = {
            prefix: named or prefix if prefix == applications.NAMELESS else prefix
            for prefix in prefixes
        }
        _check_names(names)
        imports = {}
        for prefix, name in names.items():
            place = applications.place(below, name)
            imports[name.lower()] = _Import(Application(name, place.public), prefix, place, found)
        for each in imports.values():
            each.bring_events(progress)
        for each in imports.values():
            each.bring_the_rest({name: one.position for name, one in imports.items()})
        _tell_trackings_alone(found, imports)
        return [each.application for each in imports.values()]


def _check_names(names: Mapping[str, str]) -> None:
    """Raise `BadInput` where the tables of two prefixes would go into one store."""
    told = dict[str, str]()
    for prefix, name in names.items():
        other = told.setdefault(name.lower(), prefix)
        if other != prefix:
            raise BadInput(
                f"the tables {other}_events and {prefix}_events would both be those of the"
                f" application {name!r}"
            )


def _tell_trackings_alone(found: Tables, imports: Mapping[str, "_Import"]) -> None:
    """Note up to where what has trackings alone, such as a projection, has processed events.

    The note is with the application whose events they are; else, with the first.
    """
    for table, name, number in found.trackings_alone():
        tracked = imports.get(name.lower())
        position = (
            f"which is position {tracked.position(number)} here"
            if tracked
            else "which is not in this database"
        )
        noting = tracked or next(iter(imports.values()))
        noting.application.report.notes.append(
            (table, f"is not imported: it stands at event {number} of {name}, {position}")
        )


class _Import:
    """One application's import; its store is open only while something goes in."""

    def __init__(
        self, application: Application, prefix: str, place: Address, found: Tables
    ) -> None:
        self.application = application
        self._prefix, self._place, self._found = prefix, place, found
        self._from_zero = set[str]()
        self._refused = set[UUID | str]()
        self._numbers, self._positions = array("q"), array("q")

    def position(self, number: int) -> int:
        """Return the position of the last event whose notification id is at most `number`."""
        index = bisect_right(self._numbers, number)
        return self._positions[index - 1] if index else 0

    def bring_events(self, progress: Progress) -> None:
        """Append what the store does not have yet, and seal the full blocks of its log."""
        began, report = monotonic(), self.application.report
        self._with_log(lambda log: self._bring_events(log, progress))
        report.seconds = monotonic() - began

    def bring_the_rest(self, positions: Mapping[str, Callable[[int], int]]) -> None:
        """Keep snapshots, and trackings told in the positions of those they are of."""
        self._with_log(lambda log: self._bring_the_rest(log, positions))

    def _with_log(self, work: Callable[[Log], None]) -> None:
        with closing(applications.opened(self._place, create=True)) as log:
            work(log)

    def _bring_events(self, log: Log, progress: Progress) -> None:
        report = self.application.report
        for rows in _batches(self._found.events(self._prefix)):
            if not (report.imported or report.unchanged):
                self._check_ids(log, rows)
            report.records += len(rows)
            self._append(log, rows)
            progress(self.application.name, report.records, None)
        chain.seal(log, PARTITION, log.heads()[PARTITION].position)

    def _check_ids(self, log: Log, rows: list[Row]) -> None:
        """Raise `BadInput` where the first of `rows` that is in the log has an id of another kind.

        SQLite does not tell UUIDs from texts: all events would go in again, under other ids.
        """
        if not log.heads()[PARTITION].position:
            return
        for row in rows:
            if self._is_in(log, row):
                return
            if self._is_in(log, row._replace(id=_of_other_kind(row.id))):
                are, were, mend = _TEXTS if isinstance(row.id, str) else _UUIDS
                raise BadInput(
                    f"the ids of {self._prefix}_events {are}, and its events were imported into"
                    f" {self.application.store} with {were} for ids: {mend}"
                )

    def _is_in(self, log: Log, row: Row) -> bool:
        with suppress(Refused):
            return log.outcome(self._command(row).id) is not None
        return False

    def _append(self, log: Log, rows: list[Row]) -> None:
        report, commands = self.application.report, list[tuple[Row, Command]]()
        for row in rows:
            try:
                commands.append((row, self._command(row)))
            except Refused as refusal:
                self._refuse(row, str(refusal))
        outcomes = log.append([command for _, command in commands])
        for (row, _), outcome in zip(commands, outcomes, strict=True):
            match outcome:
                case Appended():
                    report.unchanged += outcome.again
                    report.imported += not outcome.again
                    report.events += not outcome.again
                    self._numbers.append(row.number)
                    self._positions.append(outcome.position)
                case Moved() | Filling():
                    raise outcome
                case Conflict():
                    self._refuse(row, f"its aggregate stands at {outcome.actual} events")
                case Refused():
                    self._refuse(row, str(outcome))

    def _command(self, row: Row) -> Command:
        row.check()
        stream = originators.stream(row.id)
        if row.version == 0:
            self._from_zero.add(stream)
        start = 0 if stream in self._from_zero else 1
        if row.version < start:
            raise BadInput(f"its version {row.version} is below {start}")
        metadata = originators.metadata(row.id, start)
        event = originators.event(row.topic, row.state, metadata)
        said = (row.number, stream, row.version, row.topic)
        digest = sha256("\0".join(map(str, said)).encode() + b"\0" + row.state).hexdigest()
        return Command(f"import-{digest}", (Write(stream, row.version - start, (event,)),))

    def _refuse(self, row: Row, reason: str) -> None:
        self._refused.add(row.id)
        key = f"{row.id} version {row.version}"
        self.application.report.refused.append(
            Refusal(key, f"{self._prefix}_events", row.number, reason)
        )

    def _bring_the_rest(self, log: Log, positions: Mapping[str, Callable[[int], int]]) -> None:
        for rows in _batches(self._found.snapshots(self._prefix)):
            kept = list(self._snapshots(rows))
            if log.keep_snapshots(kept):
                self.application.snapshots += len(kept)
            else:
                self.application.snapshots += sum(log.keep_snapshots([each]) for each in kept)
        for upstream, number in self._found.trackings(self._prefix).items():
            self._track(log, upstream, number, positions.get(upstream.lower()))

    def _snapshots(self, rows: list[Row]) -> Iterator[Snapshot]:
        """Yield those that can be kept, none of an aggregate of which an event was refused."""
        for row in rows:
            if row.id in self._refused:  # it may tell what its events do not
                continue
            try:
                row.check()
                check_text("topic", row.topic)
                yield Snapshot(originators.stream(row.id), row.version, row.topic, row.state)
            except Refused as refusal:
                note = f"its snapshot of version {row.version} is left out: {refusal}"
                self.application.report.notes.append((str(row.id), note))

    def _track(
        self, log: Log, upstream: str, number: int, positions: Callable[[int], int] | None
    ) -> None:
        position = positions(number) if positions else number
        if positions is None:
            self.application.report.notes.append(
                (upstream, f"is not in this database: {number} events are taken as processed")
            )
        id = sha256(f"{upstream}\0{position}".encode()).hexdigest()
        if position:
            [outcome] = log.append(
                [Command(f"import-{id}", (), trackings=(Tracking(upstream, position),))]
            )
            if isinstance(outcome, Moved | Filling):
                raise outcome
        stands = log.tracked(upstream)
        self.application.trackings[upstream] = stands.position if stands else 0


_TEXTS: Final = (
    "are texts",
    "UUIDs",
    "import them without --text-ids, or into an empty store where not all look like UUIDs",
)
_UUIDS: Final = ("look like UUIDs", "texts", "say --text-ids")


def _of_other_kind(id: UUID | str) -> UUID | str:
    """Return an id as it would be if it had been taken for a text, or for a UUID."""
    if isinstance(id, UUID):
        return id.hex
    with suppress(ValueError):
        return UUID(id)
    return id


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Yield rows in batches of up to `BATCH`, and of `PAGE_BYTES` unless one row has more."""
    batch, size = list[Row](), 0
    for row in rows:
        size += row.size
        if len(batch) == BATCH or (batch and size > PAGE_BYTES):
            yield batch
            batch, size = [], row.size
        batch.append(row)
    if batch:
        yield batch
