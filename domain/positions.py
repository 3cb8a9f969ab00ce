"""Where something stands in a log: a position in each of its partitions."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from refold.domain.errors import BadInput

PARTITION: Final = 0
"""The partition of a log that has only one."""

_POSITION: Final = re.compile(r"\d{1,19}", re.ASCII)
_TOO_LONG: Final = re.compile(r"\d{20,}", re.ASCII)
_PLACE: Final = re.compile(r"(\d{1,4}):(\d{1,19})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Positions:
    """A position of each partition, by its number; what compares takes one that is missing for 0.

    There is no order between two of them but `covers`: one may be ahead here and behind there.
    """

    each: tuple[int, ...]

    @classmethod
    def at(cls, partition: int, position: int) -> "Positions":
        """Return what is reached with one event: its position, and 0 in other partitions."""
        return cls((*[0] * partition, position))

    @classmethod
    def lowest(cls, several: Iterable["Positions"]) -> "Positions":
        """Return what all of `several`, at least one, have reached."""
        columns = zip_longest(*(one.each for one in several), fillvalue=0)
        return cls(tuple(map(min, columns)))

    @classmethod
    def read(cls, text: str, partitions: int) -> "Positions | None":
        """Return what a person wrote, such as `123` or `0:123,1:456`; None for anything else.

        Raises `BadInput` where that names other partitions than there are, or no log is so long.
        """
        if _TOO_LONG.fullmatch(text):
            raise BadInput(f"a position has at most 19 digits, not {len(text)}")
        if _POSITION.fullmatch(text) and partitions == 1:
            return cls((int(text),))
        places = [_PLACE.fullmatch(each) for each in text.split(",")]
        if not all(places) and not _POSITION.fullmatch(text):
            return None
        found = {int(each[1]): int(each[2]) for each in places if each}
        if len(found) < len(places) or sorted(found) != list(range(partitions)):
            form = ",".join(f"{number}:POSITION" for number in range(partitions))
            raise BadInput(f"{text!r} has to name each partition of this log once: {form}")
        return cls(tuple(found[number] for number in range(partitions)))

    def beyond(self, other: "Positions") -> int:
        """Return how many of these events `other` has not reached."""
        pairs = zip_longest(self.each, other.each, fillvalue=0)
        return sum(max(0, mine - its) for mine, its in pairs)

    def with_one(self, partition: int, position: int) -> "Positions":
        """Return these positions, but for one partition."""
        return Positions((*self.each[:partition], position, *self.each[partition + 1 :]))

    def towards(self, goal: "Positions", events: int) -> "Positions":
        """Return what lies up to so many events nearer to `goal`, partition after partition."""
        found = []
        for here, there in zip(self.each, goal.each, strict=True):
            step = min(max(0, there - here), events)
            found.append(here + step)
            events -= step
        return Positions(tuple(found))

    def joined(self, other: "Positions") -> "Positions":
        """Return what one of both has reached, in each partition."""
        both = zip_longest(self.each, other.each, fillvalue=0)
        return Positions(tuple(map(max, both)))

    @property
    def total(self) -> int:
        """Return how many events that are."""
        return sum(self.each)

    def __iter__(self) -> Iterator[int]:
        return iter(self.each)

    def __getitem__(self, partition: int) -> int:
        return self.each[partition] if partition < len(self.each) else 0

    def place(self, number: int) -> tuple[int, int]:
        """Return the partition of one of these events, counted from 0, and what is before it."""
        for partition, position in enumerate(self.each):
            if number < position:
                return partition, number
            number -= position
        raise IndexError(number)

    def covers(self, other: "Positions") -> bool:
        """Tell whether no partition stands before `other`."""
        return all(mine >= its for mine, its in zip_longest(self.each, other.each, fillvalue=0))

    def __str__(self) -> str:
        if len(self.each) == 1:
            return str(self.each[0])
        return ",".join(f"{number}:{position}" for number, position in enumerate(self.each))

    def named(self, partition: int, position: int) -> str:
        """Return how a position in one of these partitions is told: `17`, of several `1:17`."""
        return str(position) if len(self.each) == 1 else f"{partition}:{position}"

    @property
    def stored(self) -> int | tuple[int, ...]:
        """Return it as events hold it: a number where the log has one partition."""
        return self.each[0] if len(self.each) == 1 else self.each

    def document(self) -> int | str:
        """Return it as `--json` prints it: a number where the log has one partition."""
        return self.each[0] if len(self.each) == 1 else str(self)


NOWHERE: Final = Positions((0,))
"""Where a log of one partition begins."""
