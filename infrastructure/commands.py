"""Commands: what a service asks of a store, by name, and the loop that carries each out.

The loop reads the stream, lets the domain decide, and appends; when another was faster it begins
again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import time_ns
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError

from refold.domain import streams, user
from refold.domain.errors import BadInput, Claimed, Conflict, KeyErased, Moved
from refold.domain.ports import Appended, Claim, Command, Key, Past, Valued, Write
from refold.domain.positions import Positions
from refold.domain.sealing import forgotten
from refold.domain.texts import check_word
from refold.infrastructure.codec import Metadata, encode_metadata
from refold.infrastructure.failpoints import reach
from refold.infrastructure.patience import patiently
from refold.infrastructure.requests.catalog import REQUESTS
from refold.infrastructure.requests.request import Request, Situation
from refold.infrastructure.store import Store

T = TypeVar("T")

MOVES: Final = 5
"""How often a command goes along when its store has moved; more often is a circle."""

ATTEMPTS: Final = 50
"""How often the loop decides again when others write to the same stream."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command: `position` is that of its last event, 0 if it made none.

    `at` says the same of any log, as queries take it: all of the command is there.

    `duplicate` tells that the same command id did it before; this is its first outcome.
    """

    outcome: Literal["appended", "duplicate", "unchanged"]
    stream: str
    version: int
    position: int
    partition: int = 0

    @property
    def at(self) -> Positions:
        """Return how far a log or table is that has this."""
        return Positions.at(self.partition, self.position)


def run(
    store: Store,
    name: str,
    data: Mapping[str, Any],
    *,
    command_id: str,
    actor: str,
    expected: int | None = None,
) -> Done:
    """Carry out the command called `name` with the fields in `data`.

    With `expected`, the version that the person saw, a `Conflict` is final. Raises `BadInput`
    for an unknown name or a malformed field, `IllFormedText` for an id or actor that is not 1 to
    256 characters without controls, and whatever the domain or the log refuses.
    """
    request = parse(name, data)
    check_word("command id", command_id)
    return carry_out(store, request, command_id=command_id, actor=actor, expected=expected)


def parse(name: str, data: Mapping[str, Any]) -> Request:
    """Return the request that `data` makes. Raises `BadInput` with the first field that is off."""
    model = REQUESTS.get(name)
    if model is None:
        raise BadInput(f"there is no command {name!r}; there are {', '.join(REQUESTS)}")
    try:
        request: Request = model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "input"
        raise BadInput(f"{name}: {field}: {first['msg']}") from None
    return request


def carry_out(
    store: Store, request: Request, *, command_id: str, actor: str, expected: int | None = None
) -> Done:
    """Read, decide, append; again if another was faster and nothing was expected.

    A store that was opened to follow moves goes on where it moved to, and the command with it:
    what became of it is asked here first, until it is known that it did not go in.
    """
    return following(store, lambda here: carry_out_here(here, request, command_id, actor, expected))


def following(store: Store, work: Callable[[Store], T]) -> T:
    """Return what `work` on `store` returns; when the store has moved, all of it again there.

    It is given the store as it is now: what it decides on, seals with, puts beside and appends to
    is of one place. A store that was not opened to follow moves stays, and `Moved` comes out.
    """
    if store.open_successor is None:
        return work(store)

    def there() -> T:
        for _ in range(MOVES):
            try:
                return work(store.here())
            except Moved as moved:
                store.follow(moved.successor)
        return work(store.here())

    return patiently(there)


def carry_out_here(
    store: Store, request: Request, command_id: str, actor: str, expected: int | None = None
) -> Done:
    """Do as `carry_out`, but raise `Moved` wherever the store has moved."""
    metadata = encode_metadata(Metadata(actor))

    def first(other: Request, other_id: str) -> Done:
        return carry_out(store, other, command_id=other_id, actor=actor)

    attempts = 0
    while True:
        attempts += 1
        stream = stream_of(store, request)
        events = store.history(stream)
        done = _first_outcome(store, stream, events, command_id) or (
            None if events else _outcome_elsewhere(store, request, command_id)
        )
        if done:
            return done
        version = len(events)
        if expected not in (None, version):
            raise Conflict(stream, expected, version)
        try:
            values = request.decide(Situation(store, events, command_id, first))
        except Conflict:  # what it did first, another undid
            if expected is not None or attempts == ATTEMPTS:
                raise
            continue
        if not values:
            position = events[-1].position if events else 0
            home = store.partition(stream)
            return Done("unchanged", stream, version, position, home)
        try:
            command = prepared(store, request, stream, events, values, command_id, metadata)
        except KeyErased:  # the subject was forgotten since the events were read
            if attempts == ATTEMPTS:
                raise
            continue
        reach("command: decided")
        [outcome] = store.commits.append([command])
        reach("command: appended")
        if isinstance(outcome, Appended):
            return _done(outcome)
        was_slower = isinstance(outcome, Conflict) or (
            isinstance(outcome, Claimed) and outcome.holder == stream_of(store, request)
        )
        if expected is not None or attempts == ATTEMPTS or not was_slower:
            raise outcome


def stream_of(store: Store, request: Request) -> str:
    """Return the stream that a request writes to: that of a claim's holder, or its own."""
    claim = request.found_by()
    return (holder(store, claim) if claim else None) or request.stream()


def holder(store: Store, claim: tuple[str, str]) -> str | None:
    """Return the stream that holds a claim; nobody holds what no vault has blinded yet."""
    if claim[0] == user.EMAIL and not store.vault.is_made():
        return None
    return store.log.holder(*blinded(store, claim))


def prepared(
    store: Store,
    request: Request,
    stream: str,
    events: Sequence[Valued],
    values: Sequence[object],
    command_id: str,
    metadata: bytes,
) -> Command:
    """Return the command that appends `values` behind `events`, sealed and with its claims.

    The claims of a stream are a fold of its events: what that has more is taken, what less let go.
    Raises `KeyErased` and `NotStorable`.
    """
    before = [event.value for event in events]
    held, holds = request.claims(before), request.claims([*before, *values])
    sealing = store.vault.sealing(stream, command_id)
    new = tuple(store.codec.encode(value, metadata) for value in sealing.seal(values))
    return Command(
        command_id,
        (Write(stream, len(events), new),),
        _claims(store, holds - held, stream),
        _claims(store, held - holds, stream),
        (*sealing.keys.values(), *_erased(values)),
    )


def blinded(store: Store, claim: tuple[str, str]) -> tuple[str, str]:
    """Return a claim as it is kept: a personal value is not, but what the vault makes of it."""
    kind, value = claim
    return (kind, store.vault.blind(kind, value)) if kind == user.EMAIL else claim


def _claims(store: Store, values: Iterable[tuple[str, str]], stream: str) -> tuple[Claim, ...]:
    return tuple(Claim(*claim, stream) for claim in sorted(blinded(store, each) for each in values))


def _first_outcome(
    store: Store, stream: str, events: Sequence[Past], command_id: str
) -> Done | None:
    """Return what the command did to its stream when it was carried out before."""
    own = [
        (version, event.position)
        for version, event in enumerate(events, 1)
        if event.command_id == command_id
    ]
    if not own:
        return None
    return Done("duplicate", stream, *own[-1], store.partition(stream))


def _outcome_elsewhere(store: Store, request: Request, command_id: str) -> Done | None:
    """Return what the command did to the stream that a claim led to, which it gave up with that."""
    known = store.log.outcome(command_id) if request.found_by() else None
    if known is None or streams.kind(known.stream) != streams.kind(request.stream()):
        return None
    return _done(known)


def _erased(values: Sequence[object]) -> Iterator[Key]:
    """Yield the keys that are destroyed with new events."""
    for value in values:
        for subject in forgotten(value):
            yield Key(subject, None, time_ns() // 1_000)


def _done(outcome: Appended) -> Done:
    return Done(
        "duplicate" if outcome.again else "appended",
        outcome.stream,
        outcome.version,
        outcome.position,
        outcome.partition,
    )
