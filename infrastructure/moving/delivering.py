"""Delivers pages of records to a log that is being filled, and reads each of them back."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import takewhile
from typing import Final

from refold.domain.errors import Refused
from refold.domain.ports import Log, Recorded, Seal, ends
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.failpoints import reach

PAGES_UNDER_WAY: Final = 2
"""Pages that are being written or read back while the next one is fetched."""


class Delivery:
    """Brings what a log lacks of pages that each lie in one partition.

    Where it holds something else, a sentence is added to `differences`, and nothing is written any
    more. Before anything is, `close` is told where the log ends, and keeps all others out.
    """

    def __init__(
        self, log: Log, close: Callable[[Positions], None], differences: list[str]
    ) -> None:
        self._log, self._close, self._differences = log, close, differences
        self._ends = ends(log.heads())

    def deliver(self, pages: Iterable[list[Recorded]]) -> None:
        """Deliver `pages`: while one is written, the one before is read back, the next fetched."""
        with ThreadPoolExecutor(1) as writer, ThreadPoolExecutor(1) as reader:
            under_way: deque[Future[None]] = deque()
            for page in pages:
                writing = writer.submit(self._write, page)
                under_way.append(reader.submit(self._read_back, page, writing))
                if len(under_way) > PAGES_UNDER_WAY:
                    under_way.popleft().result()
                if self._differences:
                    break
            for last in under_way:
                last.result()

    def _write(self, page: list[Recorded]) -> bool:
        """Write what the log lacks of a page, and tell whether there was anything."""
        partition = page[0].partition
        while True:
            there = self._there(page)
            self._compare(page[: len(there)], there)
            if self._differences or len(there) == len(page):
                return False
            self._ends = self._ends.with_one(partition, page[0].position - 1 + len(there))
            self._close(self._ends)
            if self._differences:
                return False
            try:
                self._log.receive(page[len(there) :])
            except Refused:
                if len(self._there(page)) <= len(there):
                    raise
                continue  # another who delivers the same was faster
            self._ends = self._ends.with_one(partition, page[-1].position)
            reach("copy: page written")
            return True

    def _read_back(self, page: list[Recorded], writing: Future[bool]) -> None:
        if writing.result():
            self._compare(page, self._there(page))

    def _compare(self, page: list[Recorded], there: list[Recorded]) -> None:
        if page != there:
            where = self._ends.named(page[0].partition, first_difference(page, there))
            self._differences.append(f"the logs differ from position {where} on")

    def _there(self, page: list[Recorded]) -> list[Recorded]:
        return chain.read(self._log, page[0].partition, page[0].position - 1, len(page))


def first_difference(page: Sequence[Recorded], there: Sequence[Recorded]) -> int:
    """Return the first position of `page` at which `there` is something else, or nothing."""
    pairs = zip(page, there, strict=False)
    return page[0].position + sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def differing_seal(log: Log, partition: int, seals: Iterable[Seal]) -> Seal | None:
    """Return the first of `seals` that says otherwise than the one that stands there in `log`."""
    standing = {seal.position: seal.chain for seal in log.seals(partition)}
    differing = (seal for seal in seals if standing.get(seal.position, seal.chain) != seal.chain)
    return next(differing, None)
