"""Pages of the log as a fold takes them: decoded, and the next one while the last is folded."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from refold.domain import streams
from refold.domain.ports import Event, EventLog, Recorded
from refold.infrastructure import chain
from refold.infrastructure.codec import Codec

PAGE: Final = 25_000
"""Events folded in one transaction: a row that many of them touch is written once."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events of the log in a row: `last` is its last record, `events` those of the kinds asked for.

    Each event comes with the kind of its stream.
    """

    last: Recorded
    events: list[tuple[str, Event]]


class PageReader:
    """Reads a partition page by page. Use it as a context manager, in one thread."""

    def __init__(self, log: EventLog, codec: Codec, partition: int, kinds: frozenset[str]) -> None:
        self._log, self._codec, self._partition, self._kinds = log, codec, partition, kinds
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[Page | None]] | None = None

    def read(self, after: int, until: int) -> Page | None:
        """Return the page behind position `after`, at most up to `until`; None at the end.

        Raises `BrokenLog` at a hole, `UnknownType` and `Undecodable` at an event of the kinds.
        """
        if self._ahead and self._ahead[0] == after:
            page = self._ahead[1].result()
        else:
            page = self._load(after, until)
        self._ahead = None
        if page and page.last.position < until:
            next_one = self._reader.submit(self._load, page.last.position, until)
            self._ahead = page.last.position, next_one
        return page

    def _load(self, after: int, until: int) -> Page | None:
        if after >= until:
            return None
        found = chain.page(self._log, self._partition, after, until, PAGE)
        events = [
            (kind, self._codec.decode(recorded))
            for recorded in found
            if (kind := streams.kind(recorded.stream)) in self._kinds
        ]
        return Page(found[-1], events)

    def __enter__(self) -> "PageReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown()
