"""A subscription that reads the log, and looks again: at once for what this process appends."""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from eventsourcing.persistence import ApplicationRecorder, Notification, Subscription

from refold.infrastructure.eventsourcing.log import ApplicationLog

FIRST_PAUSE: Final = 0.005
LONGEST_PAUSE: Final = 0.1
"""Seconds between two looks at a log where nothing happens."""

PAGE: Final = 500


class LogSubscription(Subscription[ApplicationRecorder]):
    """All events behind a position, without a gap; whoever asks for the next one reads.

    A restart of the database goes by unnoticed: reading is patient. Raises `OperationalError` when
    the store stays silent, and can be asked again then; also when it has moved, or ends before the
    position: it was put back to an older state.
    """

    def __init__(
        self,
        recorder: ApplicationRecorder,
        log: ApplicationLog,
        gt: int | None,
        topics: Sequence[str],
    ) -> None:
        super().__init__(recorder, gt, topics)
        self._log = log
        self._position = max(gt or 0, 0)
        self._found = deque[Notification]()

    def stop(self) -> None:
        """End the subscription, also for who waits for the next event."""
        super().stop()
        self._log.wakeups.wake()

    def __next__(self) -> Notification:
        pause = FIRST_PAUSE
        while not self._has_been_stopped:
            if self._found:
                return self._found.popleft()
            seen = self._log.wakeups.count
            page = self._log.notifications(self._position, PAGE)
            if page:
                self._position = page[-1].id
                self._found.extend(
                    each for each in page if not self._topics or each.topic in self._topics
                )
                continue
            if pause == LONGEST_PAUSE:
                self._log.check_follows(self._position)
            self._log.wakeups.wait(seen, pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        raise StopIteration

    def __exit__(self, *args: object, **kwargs: Any) -> None:
        super().__exit__(*args, **kwargs)
        self._found.clear()
