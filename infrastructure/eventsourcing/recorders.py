"""The recorders of the eventsourcing library, on the log of one application.

Events are kept as the library's mapper gives them, so its cipher and compressor stay in force.
Notification ids are positions: 1, 2, 3 … without a hole.
"""

from collections.abc import Sequence
from threading import Event
from time import monotonic
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    Notification,
    ProcessRecorder,
    StoredEvent,
    Subscription,
    Tracking,
    TrackingRecorder,
    WaitInterruptedError,
)

from refold.infrastructure.eventsourcing.log import ApplicationLog
from refold.infrastructure.eventsourcing.subscription import LogSubscription

LOOK_SECONDS: Final = 0.01
"""How often `wait` looks for what other processes have processed."""

PAGE: Final = 1_000
"""Events that are read at once where only some topics are wanted."""

_ALL: Final = 2**62


class RefoldAggregateRecorder(AggregateRecorder):
    """Keeps the events of aggregates."""

    def __init__(self, log: ApplicationLog) -> None:
        self.log = log

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append all events and the `tracking`, if one is given, or nothing."""
        self.log.append(stored_events, kwargs.get("tracking"))
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return events of an aggregate in the order of their versions."""
        if desc and limit is not None and gt is lte is None:
            return self.log.last(originator_id, limit)
        found = self.log.events(originator_id, -1 if gt is None else gt)
        if lte is not None:
            found = [each for each in found if each.originator_version <= lte]
        return (found[::-1] if desc else found)[:limit]


class RefoldSnapshotRecorder(AggregateRecorder):
    """Keeps snapshots in a table of their own, a cache."""

    def __init__(self, log: ApplicationLog) -> None:
        self.log = log

    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ARG002 - the library's signature
    ) -> Sequence[int] | None:
        """Keep all snapshots or none."""
        self.log.keep_snapshots(stored_events)
        return None

    def select_events(
        self,
        originator_id: UUID | str,
        *,
        gt: int | None = None,
        lte: int | None = None,
        desc: bool = False,
        limit: int | None = None,
    ) -> Sequence[StoredEvent]:
        """Return snapshots of an aggregate in the order of their versions."""
        found = self.log.snapshots(
            originator_id,
            -1 if gt is None else gt,
            _ALL if lte is None else lte,
            limit if desc and limit is not None else _ALL,
        )
        return found if desc else found[::-1][:limit]


class RefoldApplicationRecorder(RefoldAggregateRecorder, ApplicationRecorder):
    """Keeps the events of an application, and reads them in the order of their positions."""

    def insert_events(
        self, stored_events: Sequence[StoredEvent], **kwargs: Any
    ) -> Sequence[int] | None:
        """Append all events and the `tracking`, if one is given, or nothing; return positions."""
        return self.log.append(stored_events, kwargs.get("tracking"))

    def select_notifications(
        self,
        start: int | None,
        limit: int,
        stop: int | None = None,
        topics: Sequence[str] = (),
        *,
        inclusive_of_start: bool = True,
    ) -> Sequence[Notification]:
        """Return up to `limit` events from position `start`, or behind it, to `stop`.

        Raises `OperationalError` where there is none and the store has moved.
        """
        begin = after = max((start or 0) - (1 if inclusive_of_start else 0), 0)
        until = _ALL if stop is None else stop
        found: list[Notification] = []
        while len(found) < limit:
            wanted = PAGE if topics else limit - len(found)
            page = self.log.notifications(after, wanted)
            if not page and after == begin:
                self.log.check_goes_on(after)
            found += [
                each for each in page if each.id <= until and (not topics or each.topic in topics)
            ]
            if not page or page[-1].id >= until:  # a page of large events is short
                break
            after = page[-1].id
        return found[:limit]

    def max_notification_id(self) -> int | None:
        """Return the position of the last event, None when there is none."""
        return self.log.end() or None

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Return all events behind position `gt`, those to come included."""
        return LogSubscription(self, self.log, gt, topics)


class RefoldTrackingRecorder(TrackingRecorder):
    """Keeps up to where the events of other applications were processed."""

    def __init__(self, log: ApplicationLog) -> None:
        self.log = log

    def insert_tracking(self, tracking: Tracking) -> None:
        """Move a tracking forward. Raises `IntegrityError` when that is not forward."""
        self.log.append((), tracking)

    def max_tracking_id(self, application_name: str) -> int | None:
        """Return up to where an application's events were processed."""
        return self.log.tracked(application_name)

    def wait(
        self,
        application_name: str,
        notification_id: int | None,
        timeout: float = 1.0,
        interrupt: Event | None = None,
    ) -> None:
        """Return at once when an event was processed, 10 ms later if by another process.

        Raises `TimeoutError`, and `WaitInterruptedError` once `interrupt` is set.
        """
        deadline = monotonic() + timeout
        while True:
            seen = self.log.wakeups.count
            if self.has_tracking_id(application_name, notification_id):
                return
            if interrupt and interrupt.is_set():
                raise WaitInterruptedError
            left = deadline - monotonic()
            if left <= 0:
                raise TimeoutError(
                    f"event {notification_id} of {application_name} was not processed within"
                    f" {timeout:g} s"
                )
            self.log.wakeups.wait(seen, min(left, LOOK_SECONDS))


class RefoldProcessRecorder(RefoldTrackingRecorder, RefoldApplicationRecorder, ProcessRecorder):
    """Keeps the events of a process application together with the tracking that they came of."""
