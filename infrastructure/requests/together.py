"""Several requests about one aggregate, carried out as one command: all of them or none."""

from collections.abc import Sequence, Set
from typing import NamedTuple

from refold.infrastructure.requests.request import Request, Situation


class Together(NamedTuple):
    """What `first` asks, and then what `others` ask of the same aggregate.

    Its stream and claims are those of `first`. Each request decides from what those before it
    decided, which has no place in the log yet.
    """

    first: Request
    others: Sequence[Request]

    def stream(self) -> str:
        return self.first.stream()

    def found_by(self) -> tuple[str, str] | None:
        return self.first.found_by()

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return self.first.claims(values)

    def decide(self, now: Situation) -> Sequence[object]:
        decided: list[object] = []
        for request in (self.first, *self.others):
            events = (*now.events, *map(_Decided, decided))
            decided += request.decide(Situation(now.store, events, now.command_id, now.first))
        return decided


class _Decided(NamedTuple):
    value: object
