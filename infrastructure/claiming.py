"""Claims as the log has them: what the events of each stream that may hold some add up to."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from refold.domain import media, push, repo, streams, user
from refold.domain.ports import Claim, Event
from refold.infrastructure.commands import blinded
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


def evolve(states: dict[str, Any], events: Iterable[tuple[str, Event]]) -> None:
    """Bring the states of streams behind `events`, which come with the kinds of their streams."""
    for kind, event in events:
        claiming, stream = CLAIMING[kind], event.recorded.stream
        states[stream] = claiming.evolve(states.get(stream, claiming.empty), event.value)


def held(store: Store, states: Mapping[str, Any]) -> Iterator[Claim]:
    """Yield the claims that streams in these states hold, as `store` keeps them."""
    for stream, state in states.items():
        for each in CLAIMING[streams.kind(stream)].claims(state):
            yield Claim(*blinded(store, each), stream)
