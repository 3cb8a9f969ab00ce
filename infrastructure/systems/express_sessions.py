"""Sessions as express-session keeps them: a store for web frameworks, shared by all processes."""

import json
from collections.abc import Mapping
from time import time_ns
from typing import Any, Final
from uuid import uuid4

from refold.domain import times
from refold.domain.errors import BadInput
from refold.infrastructure.codec import canonical
from refold.infrastructure.commands import carry_out
from refold.infrastructure.requests import sessions as requests
from refold.infrastructure.services.sessions import list_sessions, show_session
from refold.infrastructure.store import Store

Session = Mapping[str, Any]

HOURS: Final = 12.0
"""How long a session lives whose cookie does not say so."""


class SessionStore:
    """What express-session asks of its store.

    An id is kept nowhere, only its hash, and what is in a session is sealed. A session whose time
    is over is never returned, by the wall's clock or the log's, whichever is later.
    """

    def __init__(self, store: Store, *, actor: str = "web", hours: float = HOURS) -> None:
        """Be ready, or raise: nothing is ever kept in memory instead.

        That is `Unavailable`, or `NoVaultKey` or `WrongVaultKey`, without which nothing is sealed.
        """
        store.log.heads()
        store.vault.check()
        self._store, self._actor, self._hours = store, actor, hours

    def get(self, sid: str) -> dict[str, Any] | None:
        """Return the session, None when there is none or it has expired."""
        found = show_session(self._store, sid)
        session: dict[str, Any] | None = json.loads(found.body) if found else None
        return session

    def set(self, sid: str, session: Session) -> None:
        """Keep a session, a new one or one more time, until its cookie expires."""
        self._carry_out(
            requests.SetSession(
                sid=sid,
                body=canonical(session).decode(),
                expires_at=self._expiry(session),
                user=owner(session),
            )
        )

    def touch(self, sid: str, session: Session) -> None:
        """Let a session that was used live on; what is in it stays."""
        self._carry_out(requests.TouchSession(sid=sid, expires_at=self._expiry(session)))

    def destroy(self, sid: str) -> None:
        """End a session; there being none is no error."""
        self._carry_out(requests.EndSession(sid=sid))

    def all(self) -> list[dict[str, Any]]:
        """Return what is in the sessions that live; ids are not known."""
        return [json.loads(each.body) for each in list_sessions(self._store)]

    def length(self) -> int:
        """Return how many sessions live."""
        return sum(1 for _ in list_sessions(self._store))

    def clear(self) -> None:
        """End all sessions that live now."""
        for each in list_sessions(self._store):
            self._carry_out(requests.EndByHash(hash=each.hash))

    def _carry_out(self, request: Any) -> None:
        carry_out(self._store, request, command_id=uuid4().hex, actor=self._actor)

    def _expiry(self, session: Session) -> str:
        """Return when a session expires. Raises `BadInput` for what is no session."""
        if not isinstance(session, Mapping):
            raise BadInput(f"a session is an object, not a {type(session).__name__}")
        cookie = session.get("cookie")
        expires = cookie.get("expires") if isinstance(cookie, Mapping) else None
        if isinstance(expires, str):
            return expires
        if expires is not None:
            raise BadInput("cookie.expires of a session is an ISO text or null")
        return times.text(time_ns() // 1_000 + int(self._hours * 3_600_000_000))


def owner(session: Session) -> str | None:
    """Return who is logged in, None where that is nobody, or more than a name."""
    passport = session.get("passport")
    found = passport.get("user") if isinstance(passport, Mapping) else None
    return found if isinstance(found, str) else None
