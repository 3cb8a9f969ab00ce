"""Sessions that are not over: whose they are and until when. What is in them stays sealed."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from refold.domain import session
from refold.domain.ports import Event
from refold.domain.sealing import Sealed, Text
from refold.domain.streams import family_key
from refold.projections.columns import integer, storable, table, text

NAME: Final = "sessions"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"session"})

TABLE: Final = table(
    NAME,
    "One row a session that was not ended; one that has expired stands here until it is purged.",
    text("hash", "SHA-256 of the session's id, which is kept nowhere", key=True),
    text("username", "whose session it is", null=True),
    integer("started_at_us", "when it began, in microseconds since 1970 UTC"),
    integer("expires_at_us", "when it ends unless it is used, in microseconds since 1970 UTC"),
    integer("read_only", "1 when its holder may only read"),
    text("sealed", "what is in it: a JSON array of subject, place and box, for the vault alone"),
)
INDEXES: Final = (("expires_at_us",), ("username",))
SEARCH: Final = None


class Row(NamedTuple):
    hash: str
    username: str | None
    started_at_us: int
    expires_at_us: int
    read_only: int
    sealed: str


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(family_key(event.recorded.stream),)]


def family(key: tuple[str]) -> str:
    return f"session-{key[0]}"


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    match event.value:
        case session.Started(_, body, expires_at, user, read_only):
            at = event.recorded.recorded_at
            return Row(*key, _user(user), at, expires_at, int(read_only), _box(body))
        case session.Ended() | session.Expired():
            return None
    if row is None:
        return None
    match event.value:
        case session.Changed(_, body, expires_at, user, read_only):
            return Row(*key, _user(user), row.started_at_us, expires_at, int(read_only), _box(body))
        case session.Touched(expires_at):
            return row._replace(expires_at_us=expires_at)
        case _:
            return row


def sealed(row: Row) -> Sealed:
    """Return the body of a session as it is kept."""
    subject, place, box = msgspec.json.decode(row.sealed)
    stream, command_id, number, field = place
    return Sealed(subject, (stream, command_id, number, field), box)


def _user(user: str | None) -> str | None:
    return None if user is None else storable(user)


def _box(body: Text) -> str:
    if not isinstance(body, Sealed):
        raise TypeError("the body of a session is never read open")
    return msgspec.json.encode((body.subject, body.place, body.box)).decode()
