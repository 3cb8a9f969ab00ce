"""Pages of the log as a fold takes them: the next one is read while the last is folded."""

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from refold.domain.ports import EventLog, Recorded
from refold.infrastructure import chain

PAGE: Final = 25_000
"""Events that are read at once; live tables fold as many in one transaction."""


class PageReader:
    """Reads a partition page by page. Use it as a context manager, in one thread."""

    def __init__(self, log: EventLog, partition: int) -> None:
        self._log, self.partition = log, partition
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[int, Future[list[Recorded]]] | None = None

    def read(self, after: int, until: int) -> list[Recorded]:
        """Return the record at position `after`, if that is not 0, and the page behind it.

        So whoever folded up to there sees whether it was this log. It is empty where `until` is not
        behind `after`. Raises `BrokenLog` at a hole, and where the log ends before the page begins.
        """
        ahead, self._ahead = self._ahead, None
        page = ahead[1].result() if ahead and ahead[0] == after else self._load(after, until)
        if page and page[-1].position < until:
            next_one = self._reader.submit(self._load, page[-1].position, until)
            self._ahead = page[-1].position, next_one
        return page

    def pages(self, until: int) -> Iterator[list[Recorded]]:
        """Yield all pages from the first event up to `until`."""
        after = 0
        while page := self.read(after, until):
            yield page[1:] if after else page
            after = page[-1].position

    def _load(self, after: int, until: int) -> list[Recorded]:
        if after >= until:
            return []
        before = 1 if after else 0
        page = chain.page(self._log, self.partition, after - before, until, PAGE + before)
        if len(page) == before:  # the log ends, or the next one is too large to come with it
            page += chain.page(self._log, self.partition, after, until, PAGE)
        return page

    def __enter__(self) -> "PageReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown()
