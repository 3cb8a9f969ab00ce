"""Compares the claims that a store keeps with those that its events make."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from refold.domain import streams
from refold.domain.ports import Claim, Recorded
from refold.infrastructure.claiming import CLAIMING, evolve, held
from refold.infrastructure.folding.advancing import UNREADABLE
from refold.infrastructure.store import Store


class Difference(NamedTuple):
    """A claim that is held by `kept`, and by `folded` as the log has it; None is nobody."""

    kind: str
    value: str
    kept: str | None
    folded: str | None


class ClaimFold:
    """Follows the log and keeps the state of each stream that may hold claims."""

    def __init__(self, store: Store, kinds: Collection[str]) -> None:
        self._store, self._kinds = store, frozenset(kinds)
        self._states: dict[str, Any] = {}
        self._unreadable: set[str] = set()

    def over(self, page: Iterable[Recorded]) -> None:
        """Go over the next events. A stream with one that cannot be read is left out."""
        records = list(page)
        try:
            self._evolve(records)
        except UNREADABLE:
            for record in records:
                try:
                    self._evolve([record])
                except UNREADABLE:
                    self._unreadable.add(record.stream)

    def _evolve(self, records: Iterable[Recorded]) -> None:
        evolve(self._states, self._store.codec.decode_kinds(records, self._kinds))

    def differences(self, kept: Iterable[Claim]) -> Iterator[Difference]:
        """Yield those of the claims that are kept, or should be, which the events do not make."""
        holders = {
            (claim.kind, claim.value): claim.stream
            for claim in kept
            if self._is_known(claim.stream)
        }
        known = {stream: state for stream, state in self._states.items() if self._is_known(stream)}
        for kind, value, stream in held(self._store, known):
            holder = holders.pop((kind, value), None)
            if holder != stream:
                yield Difference(kind, value, holder, stream)
        for claim, holder in holders.items():
            yield Difference(*claim, holder, None)

    def _is_known(self, stream: str) -> bool:
        kind = streams.kind(stream)
        is_left_out = kind in CLAIMING and kind not in self._kinds
        return not is_left_out and stream not in self._unreadable
