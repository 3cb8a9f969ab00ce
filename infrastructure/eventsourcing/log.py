"""The log of one application as its recorders use it."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from threading import Condition
from typing import Final, NamedTuple
from uuid import UUID

from eventsourcing.persistence import (
    DataError,
    IntegrityError,
    Notification,
    OperationalError,
    StoredEvent,
    Tracking,
)

from refold.domain import ports
from refold.domain.errors import Conflict, Moved
from refold.domain.ports import Appended, Command, Head, Log, Recorded, Snapshot, State, Write
from refold.domain.positions import PARTITION
from refold.domain.texts import check_text
from refold.infrastructure import originators
from refold.infrastructure.appending.group_commit import GroupCommit
from refold.infrastructure.eventsourcing.errors import told
from refold.infrastructure.ulids import new_ulid

MOST_KNOWN: Final = 100_000
"""Aggregates of which is remembered where they begin and end: a save then looks nothing up."""

MOST_BYTES: Final = 1_000_000_000 - (1 << 20)
"""Bytes of a save: PostgreSQL takes no message of 1 GiB, SQLite no row of more than 1 GB."""


class _Known(NamedTuple):
    """From where an aggregate's versions count, 0 or 1, and how far its stream goes at least."""

    start: int
    end: int


class Wakeups:
    """Wakes whoever waits for something new in a store; what other processes do wakes nobody."""

    def __init__(self) -> None:
        self._condition = Condition()
        self.count = 0

    def wake(self) -> None:
        """Wake all who wait."""
        with self._condition:
            self.count += 1
            self._condition.notify_all()

    def wait(self, seen: int, seconds: float) -> None:
        """Return after `seconds`, or once `count` is not `seen` any more."""
        with self._condition:
            if self.count == seen:
                self._condition.wait(seconds)


class ApplicationLog:
    """The events, trackings and snapshots of an application; for many threads.

    Its methods raise the library's errors. Appends of several threads share a commit.
    """

    def __init__(self, log: Log) -> None:
        """Stand in front of `log`, whose only partition is the application's sequence."""
        self._log = log
        self._commits = GroupCommit(log)
        self._known: dict[str, _Known] = {}
        self._told = told()
        self.wakeups = Wakeups()

    def append(self, events: Sequence[StoredEvent], tracking: Tracking | None) -> list[int]:
        """Append all of `events` and move the tracking, or nothing; return the positions.

        Each aggregate's versions go on by one and begin with 0 or 1. Raises `IntegrityError` where
        a version is there already or one before it is missing, or the tracking is not ahead, and
        `DataError` for what not every engine can keep.
        """
        if not events and tracking is None:
            return []
        _check(events)
        command_id = new_ulid()  # sorted by time: it goes to the end of its index
        trackings = (
            (ports.Tracking(tracking.application_name, tracking.notification_id),)
            if tracking
            else ()
        )
        with self._told:
            for each in trackings:
                check_text("application", each.application)
                _check_number("notification id", each.position)
            while True:
                starts = dict[str, int]()
                writes = tuple([self._write(run, starts) for run in _runs(events)])
                command = Command(command_id, writes, trackings=trackings)
                [outcome] = self._commits.append([command])
                if isinstance(outcome, Appended):
                    break
                if not (
                    isinstance(outcome, Conflict)
                    and starts[outcome.stream] == 1
                    and self._counts_from_zero(outcome)
                ):
                    raise outcome
        for write in writes:
            end = (write.expected or 0) + len(write.events)
            self._remember(write.stream, starts[write.stream], end)
        self.wakeups.wake()
        return list(range(outcome.position - len(events) + 1, outcome.position + 1))

    def events(self, id: UUID | str, after: int) -> list[StoredEvent]:
        """Return the events of an aggregate behind a version, in order."""
        with self._told:
            records = self._read(originators.stream(id), max(after, 0))
        return [
            StoredEvent(id, version, record.type, record.data)
            for record in records
            if (version := originators.version(record)) > after
        ]

    def last(self, id: UUID | str, number: int) -> list[StoredEvent]:
        """Return up to `number` last events of an aggregate, newest first.

        Only where this process knows nothing of the aggregate, more than those are read.
        """
        with self._told:
            stream = originators.stream(id)
            known = self._known.get(stream)
            after = max(known.end - number, 0) if known else 0
            records = self._read(stream, after)
            if after and len(records) < number:  # the log went back
                records = self._read(stream, 0)
        return [
            StoredEvent(id, originators.version(record), record.type, record.data)
            for record in records[: -number - 1 : -1]
        ]

    def notifications(self, after: int, limit: int) -> list[Notification]:
        """Return up to `limit` events behind a position."""
        with self._told:
            return [_notification(each) for each in self._log.page(PARTITION, after, limit)]

    def end(self) -> int:
        """Return the position of the last event, 0 when there is none."""
        with self._told:
            return self._log.heads()[PARTITION].position

    def check_goes_on(self, position: int) -> Head:
        """Raise `OperationalError` where the store has moved and nothing is behind a position."""
        with self._told:
            head = self._log.heads()[PARTITION]
            if head.state is State.SEALED and head.position <= position:
                raise Moved(head.successor or "an unknown address")
            return head

    def check_follows(self, position: int) -> None:
        """Raise `OperationalError` also where the log ends before a position that was followed."""
        end = self.check_goes_on(position).position
        if end < position:
            raise OperationalError(f"the log ends at {end}, before {position}: it went back")

    def tracked(self, application: str) -> int | None:
        """Return up to which position an application's events were processed."""
        with self._told:
            check_text("application", application)
            found = self._log.tracked(application)
        return found.position if found else None

    def keep_snapshots(self, snapshots: Sequence[StoredEvent]) -> None:
        """Keep all of `snapshots`, or raise `IntegrityError` when there is one of them already."""
        _check(snapshots)
        with self._told:
            for each in snapshots:
                check_text("topic", each.topic)
            kept = not snapshots or self._log.keep_snapshots(
                [
                    Snapshot(
                        originators.stream(each.originator_id),
                        each.originator_version,
                        each.topic,
                        each.state,
                    )
                    for each in snapshots
                ]
            )
        if not kept:
            raise IntegrityError("there is a snapshot of this aggregate's version already")

    def snapshots(self, id: UUID | str, after: int, until: int, limit: int) -> list[StoredEvent]:
        """Return up to `limit` snapshots of an aggregate, newest first."""
        with self._told:
            found = self._log.snapshots(originators.stream(id), after, until, limit)
        return [StoredEvent(id, each.version, each.type, each.data) for each in found]

    def close(self) -> None:
        """Let go of files and connections; who uses them still, or waits, is told so."""
        self._told.is_closed = True
        self._log.close()
        self.wakeups.wake()

    def _write(self, run: Sequence[StoredEvent], starts: dict[str, int]) -> Write:
        """Return the write that a run is; `starts` are those of the command's streams so far."""
        id, first = run[0].originator_id, run[0].originator_version
        for version, each in enumerate(run, first):
            if each.originator_version != version:
                raise IntegrityError(f"the versions of {id} do not go on by one from {first}")
        stream = originators.stream(id)
        if stream not in starts:
            starts[stream] = self._start(stream, first)
        start = starts[stream]
        metadata = originators.metadata(id, start)
        events = [originators.event(each.topic, each.state, metadata) for each in run]
        return Write(stream, first - start, tuple(events))

    def _start(self, stream: str, first: int) -> int:
        """Return from where the versions of a stream count to which `first` is to be appended.

        One that is not known is looked at: else a version too few would pass for one from 0.
        """
        if first == 0:
            return 0
        if stream not in self._known and first > 1:
            self._read(stream, first - 2)
        known = self._known.get(stream)
        return known.start if known else 1

    def _counts_from_zero(self, conflict: Conflict) -> bool:
        """Tell whether a conflict is only about where versions count from, taken for 1."""
        if conflict.stream not in self._known:
            self._read(conflict.stream, conflict.actual - 1)
        known = self._known.get(conflict.stream)
        return known is not None and known.start == 0

    def _read(self, stream: str, after: int) -> list[Recorded]:
        """Return the events of a stream behind a version, and remember what they tell of it."""
        records = self._log.stream(stream, after)
        if records:
            self._remember(stream, originators.start(records[0].metadata), records[-1].version)
        return records

    def _remember(self, stream: str, start: int, end: int) -> None:
        if len(self._known) > MOST_KNOWN:
            self._known = {}
        self._known[stream] = _Known(start, end)


def _check(events: Sequence[StoredEvent]) -> None:
    """Raise `DataError` where not every engine can keep them."""
    for each in events:
        _check_number("version", each.originator_version)
    size = sum([len(each.state) for each in events])
    if size > MOST_BYTES:
        raise DataError(f"a save of {size} bytes is larger than the limit of {MOST_BYTES}")


def _check_number(what: str, number: int) -> None:
    if not -(2**63) <= number < 2**63:
        raise DataError(f"the {what} {number} is not within 64 bits")


def _runs(events: Sequence[StoredEvent]) -> Iterable[Sequence[StoredEvent]]:
    """Return `events` in runs of one aggregate each, in their order."""
    if len(events) == 1:  # most commands
        return (events,)
    return [list(run) for _, run in groupby(events, attrgetter("originator_id"))]


def _notification(record: Recorded) -> Notification:
    id, version = originators.origin(record)
    return Notification(id, version, record.type, record.data, record.position)
