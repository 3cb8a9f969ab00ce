"""Claims as the log has them: a fold of the events of each stream, in memory."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from refold.domain import media, push, repo, streams, user
from refold.domain.ports import Claim, Recorded
from refold.infrastructure.commands import blinded
from refold.infrastructure.folding.advancing import UNREADABLE
from refold.infrastructure.requests.media import CONTENT_OF
from refold.infrastructure.requests.pushes import ID
from refold.infrastructure.requests.repos import URL
from refold.infrastructure.store import Store


class Claiming(NamedTuple):
    """How the streams of a kind come to their claims."""

    empty: Any
    evolve: Callable[[Any, Any], Any]
    claims: Callable[[Any], Collection[tuple[str, str]]]


CLAIMING: Final[Mapping[str, Claiming]] = {
    "user": Claiming(user.User(), user.evolve, user.claims),
    "push": Claiming(push.Push(), push.evolve, lambda it: [(ID, id) for id in it.ids]),
    "repo": Claiming(
        repo.Repo(), repo.evolve, lambda it: [(URL, it.url)] if it.url.strip() else []
    ),
    "media": Claiming(
        media.Media(),
        media.evolve,
        lambda it: [(CONTENT_OF, it.content_hash)] if it.has_content else [],
    ),
}
"""The kinds of streams that hold claims."""


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
        for kind, event in self._store.codec.decode_kinds(records, self._kinds):
            claiming, stream = CLAIMING[kind], event.recorded.stream
            before = self._states.get(stream, claiming.empty)
            self._states[stream] = claiming.evolve(before, event.value)

    def differences(self, kept: Iterable[Claim]) -> Iterator[Difference]:
        """Yield those of the claims that are kept, or should be, which the events do not make."""
        holders = {
            (claim.kind, claim.value): claim.stream
            for claim in kept
            if self._is_known(claim.stream)
        }
        for stream, state in self._states.items():
            if not self._is_known(stream):
                continue
            for each in CLAIMING[streams.kind(stream)].claims(state):
                claim = blinded(self._store, each)
                holder = holders.pop(claim, None)
                if holder != stream:
                    yield Difference(*claim, holder, stream)
        for claim, holder in holders.items():
            yield Difference(*claim, holder, None)

    def _is_known(self, stream: str) -> bool:
        kind = streams.kind(stream)
        is_left_out = kind in CLAIMING and kind not in self._kinds
        return not is_left_out and stream not in self._unreadable
