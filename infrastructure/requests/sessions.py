"""Requests about sessions. Ids come in and are hashed at once; nothing else here knows them."""

from collections.abc import Sequence
from hashlib import sha256

from pydantic import Field

from refold.domain import session, streams, times
from refold.domain.ports import Valued
from refold.domain.texts import check_sha256
from refold.infrastructure import clock
from refold.infrastructure.requests.request import Fields, Situation


def state(events: Sequence[Valued]) -> session.Session:
    """Return the session that its events add up to."""
    return session.after(*(event.value for event in events))  # type: ignore[arg-type]


def stream(sid: str) -> str:
    """Return the stream of the session whose id is `sid`."""
    return streams.name("session", sha256(sid.encode("utf-8", "surrogatepass")).hexdigest())


def _micros(text: str) -> int:
    """Return the µs that `text` names. Raises `NotATime` for what has no text in UTC."""
    micros = times.micros(text)
    try:
        times.text(micros)
    except OverflowError:
        raise times.NotATime(f"{text!r} is not between the years 1 and 9999 in UTC") from None
    return micros


class _OfSession(Fields):
    sid: str = Field(repr=False)

    def stream(self) -> str:
        return stream(self.sid)


class SetSession(_OfSession):
    """Begin a session, or replace its body; `expires_at` is RFC 3339."""

    body: str = Field(repr=False)
    expires_at: str
    user: str | None = None
    read_only: bool = False

    def decide(self, now: Situation) -> Sequence[object]:
        return session.set_body(
            state(now.events),
            self.stream(),
            self.body,
            _micros(self.expires_at),
            clock.now(now.store.log),
            self.user,
            read_only=self.read_only,
        )


class TouchSession(_OfSession):
    """Move the expiry of a session that was used; a small step is no news."""

    expires_at: str

    def decide(self, now: Situation) -> Sequence[object]:
        return session.touch(
            state(now.events),
            _micros(self.expires_at),
            clock.now(now.store.log),
            now.store.touch_step,
        )


class EndSession(_OfSession):
    """End a session; what was in it cannot be read any more."""

    def decide(self, now: Situation) -> Sequence[object]:
        return session.end(state(now.events))


class _ByHash(Fields):
    hash: str

    def stream(self) -> str:
        check_sha256(self.hash)  # an id that was given by mistake is not to be kept
        return streams.name("session", self.hash)


class EndByHash(_ByHash):
    """End a session, named by the hash of its id."""

    def decide(self, now: Situation) -> Sequence[object]:
        return session.end(state(now.events))


class ExpireSession(_ByHash):
    """End a session, named by the hash of its id, that has expired."""

    def decide(self, now: Situation) -> Sequence[object]:
        return session.expire(state(now.events), clock.now(now.store.log))
