"""Repositories as git-proxy asks for them: records with their users, listings with activity."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import sqlalchemy as sa

from refold.domain import repo, streams
from refold.domain.texts import IllFormedText
from refold.infrastructure.codec import parse
from refold.infrastructure.push_documents import same
from refold.infrastructure.reading import After, reading
from refold.infrastructure.requests import repos as requests
from refold.infrastructure.services.pushes import PushActivity, push_activity
from refold.infrastructure.store import Store
from refold.projections import pushes, repo_permissions, repos
from refold.projections.columns import indexable, storable
from refold.projections.projection import Projection

Json = dict[str, Any]


def show_repo(store: Store, id: str) -> Json | None:
    """Return git-proxy's record of a repository, with `_id` and `users`, as the log has it now.

    None for an id that nobody has, whatever it looks like.
    """
    try:
        stream = streams.name("repo", id)
    except IllFormedText:
        return None
    events: Any = [event.value for event in store.history(stream)]
    document, found = repo.view(events), repo.after(*events)
    if document is None:
        return None
    return _shown(found.id, document, {role: found.having(role) for role in _ROLES})


def find_repo(
    store: Store, *, name: str | None = None, url: str | None = None, after: After = "now"
) -> Json | None:
    """Return the record of the repository with that name, in any case, and that exact url.

    One of them is enough; names need not be unique, and the first by id is returned. None when
    there is none.
    """
    asked = {"name": name, "url": url}
    query = {field: text for field, text in asked.items() if text is not None}
    if not query:
        return None
    return next((found for _, found in _select(store, query, after)), None)


def list_repos(
    store: Store, query: Mapping[str, object] | None = None, after: After = "now"
) -> list[Json]:
    """Return the records that have all fields of `query`, by name, then id, with their activity.

    Any top-level field may be asked for; the name is compared in lower case. `activity` counts
    the pushes to the repository, `latestPushAtMs` and `latestPendingReviewAtMs` (ms since 1970)
    are left out where there is none.
    """
    found = list(_select(store, query or {}, after, pushes))
    activity = {each.canonical_url: each for each in push_activity(store, after=None)}
    return [record | _activity(activity.get(url) if url else None) for url, record in found]


def is_user_push_allowed(store: Store, url: str, username: str) -> bool:
    """Tell whether somebody, in any case, may push to or approve for the repository at `url`.

    The url is compared exactly; nobody may do anything with a repository that is not known.
    """
    if storable(url) != url:  # no claim holds such a text
        return False
    stream = store.log.holder(requests.URL, url)
    found = requests.state(store.history(stream)) if stream else repo.Repo()
    return username.lower() in (*found.can_push, *found.can_authorise)


_ROLES: tuple[repo.Role, ...] = ("canPush", "canAuthorise")


def _select(
    store: Store, query: Mapping[str, object], after: After, *others: Projection
) -> Iterator[tuple[str, Json]]:
    """Yield canonical url and record of the repositories that `query` finds."""
    with reading(store, after, repos, repo_permissions, *others) as tables:
        table, granted = (
            tables.current[repos.NAME].table,
            tables.current[repo_permissions.NAME].table,
        )
        columns = (table.c.repo, table.c.id, table.c.canonical_url, table.c.document)
        narrowed = sa.select(*columns).where(*_by_column(table, query))
        rows = tables.connection.execute(narrowed.order_by(table.c.name, table.c.id)).all()
        of_those = granted.c.repo.in_(sa.select(narrowed.subquery().c.repo))
        names = sa.select(granted.c.repo, granted.c.role, granted.c.username).where(of_those)
        names = names.order_by(granted.c.granted_position, granted.c.ordinal)
        users: dict[str, dict[str, list[str]]] = {}
        for key, role, username in tables.connection.execute(names):
            users.setdefault(key, {}).setdefault(role, []).append(username)
    for key, id, url, document in rows:
        record = _shown(id, parse(document.encode()), users.get(key, {}))
        if all(_has(record, field, value) for field, value in query.items()):
            yield url, record


def _by_column(table: sa.Table, query: Mapping[str, object]) -> Iterator[sa.ColumnElement[bool]]:
    """Yield what indexes can tell of `query`; the records tell the rest."""
    for field, column in {"_id": "id", "name": "name", "url": "url"}.items():
        value = query.get(field)
        if isinstance(value, str):
            yield table.c[column] == indexable(value.lower() if field == "name" else value)


def _has(record: Json, field: str, value: object) -> bool:
    """Tell whether a record has a field with that value; a name in any case."""
    if field not in record:
        return False
    kept = record[field]
    if field == "name" and isinstance(kept, str) and isinstance(value, str):
        return kept.lower() == value.lower()
    return same(kept, value)


def _shown(id: str, document: repo.Document, users: Mapping[str, Iterable[str]]) -> Json:
    return {**document, "_id": id, "users": {role: list(users.get(role, ())) for role in _ROLES}}


def _activity(activity: PushActivity | None) -> Json:
    each = activity or PushActivity("", 0, 0, 0, 0, 0, None, None)
    latest = {
        "latestPushAtMs": each.latest_push_ms,
        "latestPendingReviewAtMs": each.latest_pending_ms,
    }
    return {
        "activity": {
            "pending": each.pending,
            "approved": each.approved,
            "canceled": each.canceled,
            "rejected": each.rejected,
            "error": each.error,
        },
        **{name: time for name, time in latest.items() if time is not None},
    }
