"""Sessions as web frameworks ask for them: found by id, listed without ids, purged when expired."""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

from refold.domain import streams, times
from refold.domain.sealing import Sealed
from refold.infrastructure import clock
from refold.infrastructure.commands import carry_out
from refold.infrastructure.reading import After, reading
from refold.infrastructure.requests import sessions as requests
from refold.infrastructure.store import Store
from refold.projections import sessions

PURGER = "refold"
"""Who expires sessions, as the log's metadata says it."""


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session that lives. `expires_at` is RFC 3339, `body` what the framework keeps in it."""

    hash: str
    user: str | None
    expires_at: str
    read_only: bool
    body: str


def show_session(store: Store, sid: str) -> SessionView | None:
    """Return the session whose id is `sid`; None when there is none, or it is over."""
    stream = requests.stream(sid)
    found = requests.state(store.history(stream))
    if not found.lives(clock.now(store.log)) or not isinstance(found.body, Sealed):
        return None
    body = store.vault.open(found.body)
    if not isinstance(body, str):
        return None  # ended since its events were read
    expires_at = times.text(found.expires_at)
    hash = streams.family_key(stream)
    return SessionView(hash, found.user, expires_at, found.read_only, body)


def list_sessions(store: Store, after: After = "now") -> Iterator[SessionView]:
    """Yield the sessions that live, in the order of their hashes: bodies, but no ids."""
    with reading(store, after, sessions) as tables:
        generation = tables.current[sessions.NAME]
        rows = [sessions.Row(*row) for row in tables.rows.scan(tables.connection, generation)]
    now = clock.now(store.log)
    live = [row for row in rows if row.expires_at_us > now]
    bodies = store.vault.open_all(map(sessions.sealed, live))
    for row, body in zip(live, bodies, strict=True):
        if isinstance(body, str):
            expires_at = times.text(row.expires_at_us)
            yield SessionView(row.hash, row.username, expires_at, bool(row.read_only), body)


def purge(store: Store, most: int | None = None) -> int:
    """End sessions that have expired, and return how many; their bodies are gone with that."""
    now = clock.now(store.log)
    with reading(store, "now", sessions) as tables:
        table = tables.current[sessions.NAME].table
        query = table.select().with_only_columns(table.c.hash).where(table.c.expires_at_us <= now)
        query = query.order_by(table.c.expires_at_us).limit(most)
        expired = [hash for (hash,) in tables.connection.execute(query)]
    done = [
        carry_out(store, requests.ExpireSession(hash=hash), command_id=uuid4().hex, actor=PURGER)
        for hash in expired
    ]
    return sum(each.outcome == "appended" for each in done)
