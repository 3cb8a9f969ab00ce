"""A session: somebody's state between requests, found by the hash of an id that is kept nowhere.

Top to bottom: the events, the state they add up to, the decisions. A session that is set again
after its end, or when it was another user's, is a new one, sealed under a new subject; times are µs
since 1970 UTC.
"""

from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Final, assert_never

from refold.domain.sealing import FORGOTTEN, SECRET, Text

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """The session began; its body is what the web framework keeps in it."""

    subject: str
    body: Text = field(metadata=SECRET, repr=False)
    expires_at: int
    user: str | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """The body was set anew, and with it the expiry and whose session it is."""

    subject: str
    body: Text = field(metadata=SECRET, repr=False)
    expires_at: int
    user: str | None = None
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Touched:
    """The session was used, which moved its expiry."""

    expires_at: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Somebody ended the session."""

    subject: str = field(metadata=FORGOTTEN)


@dataclass(frozen=True, slots=True)
class Expired:
    """Nobody used the session in time."""

    subject: str = field(metadata=FORGOTTEN)


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "session.started": Started,
    "session.changed": Changed,
    "session.touched": Touched,
    "session.ended": Ended,
    "session.expired": Expired,
}

Event = Started | Changed | Touched | Ended | Expired

# --- state --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Session:
    """`starts` counts how often the session began; without a `subject` it is over."""

    starts: int = 0
    subject: str = ""
    body: Text = field(default="", repr=False)
    expires_at: int = 0
    user: str | None = None
    read_only: bool = False

    def lives(self, now: int) -> bool:
        """Tell whether the session may be used at `now`."""
        return bool(self.subject) and now < self.expires_at


def evolve(session: Session, event: Event) -> Session:
    match event:
        case Started(subject, body, expires_at, user, read_only):
            return Session(session.starts + 1, subject, body, expires_at, user, read_only)
        case Changed(subject, body, expires_at, user, read_only):
            return Session(session.starts, subject, body, expires_at, user, read_only)
        case Touched(expires_at):
            return replace(session, expires_at=expires_at)
        case Ended() | Expired():
            return Session(session.starts)
        case _:
            assert_never(event)


def after(*events: Event) -> Session:
    return reduce(evolve, events, Session())


# --- decisions ----------------------------------------------------------------


def set_body(
    session: Session,
    stream: str,
    body: str,
    expires_at: int,
    now: int,
    user: str | None = None,
    *,
    read_only: bool = False,
) -> list[Event]:
    """Begin the session, or replace its body; one that has expired is over first.

    So is one that was another user's, or is nobody's from now on: what was in it cannot be read any
    more.
    """
    lives = session.lives(now)
    if lives and session.user in (None, user):
        return [Changed(session.subject, body, expires_at, user, read_only)]
    over = end(session) if lives else expire(session, now)
    subject = f"{stream}#{session.starts + 1}" if session.starts else stream
    return [*over, Started(subject, body, expires_at, user, read_only)]


STEPS_OF_A_LIFETIME: Final = 10
"""Touches that are kept, at least, of a session in steady use before it would end."""


def touch(session: Session, expires_at: int, now: int, step: int) -> list[Event]:
    """Move the expiry; less than a step is no news, and neither is a session that is over.

    A step is `step` µs, but at most a tenth of what the session has from now on: it would end too
    early while it is in use.
    """
    least = max(min(step, (expires_at - now) // STEPS_OF_A_LIFETIME), 1)
    if not session.lives(now) or abs(expires_at - session.expires_at) < least:
        return []
    return [Touched(expires_at)]


def end(session: Session) -> list[Event]:
    return [Ended(session.subject)] if session.subject else []


def expire(session: Session, now: int) -> list[Event]:
    """End a session that nobody used in time; one that lives goes on."""
    return [Expired(session.subject)] if session.subject and not session.lives(now) else []
