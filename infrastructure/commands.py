"""Commands: what a service asks of a store, by name, and the loop that carries each out.

The loop reads the stream, lets the domain decide, and appends; when another was faster it begins
again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ValidationError

from refold.domain.errors import BadInput, Conflict
from refold.domain.ports import Appended, Command, Event, Write
from refold.domain.texts import check_text
from refold.infrastructure.codec import Metadata, encode_metadata
from refold.infrastructure.requests.catalog import REQUESTS
from refold.infrastructure.requests.request import Request, Situation
from refold.infrastructure.store import Store

ATTEMPTS: Final = 50
"""How often the loop decides again when others write to the same stream."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command: `position` is that of its last event, 0 if it made none.

    `duplicate` tells that the same command id did it before; this is its first outcome.
    """

    outcome: Literal["appended", "duplicate", "unchanged"]
    stream: str
    version: int
    position: int


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
    for an unknown name or a malformed field, and whatever the domain or the log refuses.
    """
    request = parse(name, data)
    check_text("command id", command_id)
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
    """Read, decide, append; again if another was faster and nothing was expected."""
    stream = request.stream()
    metadata = encode_metadata(Metadata(actor))

    def first(other: Request, other_id: str) -> Done:
        return carry_out(store, other, command_id=other_id, actor=actor)

    attempts = 0
    while True:
        attempts += 1
        events = store.stream(stream)
        done = _first_outcome(events, command_id)
        if done:
            return done
        last = events[-1].recorded if events else None
        version = last.version if last else 0
        if expected not in (None, version):
            raise Conflict(stream, expected, version)
        values = request.decide(Situation(store, events, command_id, first))
        if not values:
            return Done("unchanged", stream, version, last.position if last else 0)
        write = Write(
            stream, version, tuple(store.codec.encode(value, metadata) for value in values)
        )
        [outcome] = store.log.append([Command(command_id, (write,))])
        if isinstance(outcome, Appended):
            return _done(outcome)
        if expected is not None or attempts == ATTEMPTS or not isinstance(outcome, Conflict):
            raise outcome


def _first_outcome(events: Sequence[Event], command_id: str) -> Done | None:
    """Return what the command did to its stream when it was carried out before."""
    own = [each.recorded for each in events if each.recorded.command_id == command_id]
    return Done("duplicate", own[-1].stream, own[-1].version, own[-1].position) if own else None


def _done(outcome: Appended) -> Done:
    return Done(
        "duplicate" if outcome.again else "appended",
        outcome.stream,
        outcome.version,
        outcome.position,
    )
