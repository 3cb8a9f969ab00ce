"""Lots of events that are held at once: not only so many, but also of so many bytes."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate, islice, takewhile
from operator import itemgetter
from typing import Final

from refold.domain.ports import Recorded
from refold.infrastructure import limits

record = partial(tuple.__new__, Recorded)
"""Makes a record of its fields, as `Recorded._make` in two thirds of the time."""

_FEW: Final = 16
"""Records that are fetched before their sizes are looked at."""

_DATA, _METADATA = (itemgetter(Recorded._fields.index(each)) for each in ("data", "metadata"))


def size(records: Iterable[Recorded]) -> int:
    """Return how many bytes the events have, with their metadata."""
    found = list(records)
    return sum(map(len, map(_DATA, found))) + sum(map(len, map(_METADATA, found)))


def fitting(sizes: Iterable[int]) -> int:
    """Return how many events of these sizes are a page: at least the first."""
    totals = accumulate(sizes)
    return max(1, sum(1 for _ in takewhile(lambda total: total <= limits.PAGE_BYTES, totals)))


def page(records: Iterable[Recorded]) -> list[Recorded]:
    """Return the first of `records` that are a page, and fetch few more."""
    source, found, left = iter(records), list[Recorded](), limits.PAGE_BYTES
    while few := list(islice(source, _FEW)):
        found += few
        left -= size(few)
        if left < 0:
            return found[: fitting(size([each]) for each in found)]
    return found


def lots(records: Iterable[Recorded], most: int) -> Iterator[list[Recorded]]:
    """Yield all of `records` in lots of at most so many, which end behind the bytes of a page."""
    lot, left = list[Recorded](), limits.PAGE_BYTES
    for each in records:
        lot.append(each)
        left -= len(each.data) + len(each.metadata)
        if left <= 0 or len(lot) == most:
            yield lot
            lot, left = [], limits.PAGE_BYTES
    if lot:
        yield lot
