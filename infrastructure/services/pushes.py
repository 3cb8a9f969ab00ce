"""Pushes as git-proxy asks for them: one whole document, listings without steps, activity."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

import sqlalchemy as sa

from refold.domain import push
from refold.infrastructure import push_documents
from refold.infrastructure.codec import parse
from refold.infrastructure.limits import check_page
from refold.infrastructure.reading import After, reading
from refold.infrastructure.requests.pushes import OfPush
from refold.infrastructure.store import Store
from refold.projections import pushes
from refold.projections.columns import is_kept_as_it_is
from refold.projections.views import PUSH_ACTIVITY

PENDING: Final[Mapping[str, object]] = {
    "error": False,
    "blocked": True,
    "allowPush": False,
    "authorised": False,
    "type": "push",
}
"""What git-proxy lists when it is not told what: the pushes that wait for a review."""


@dataclass(frozen=True, slots=True)
class PushActivity:
    """How many pushes of a repository stand where; times are ms since 1970, None for none."""

    canonical_url: str
    pending: int
    approved: int
    canceled: int
    rejected: int
    error: int
    latest_push_ms: float | None
    latest_pending_ms: float | None


def show_push(store: Store, id: str) -> dict[str, Any]:
    """Return git-proxy's document of a push, by any of its ids, as the log has it now.

    Raises `UnknownPush`, and what the store of blobs raises when something big is missing.
    """
    request = OfPush(id=id)
    stream = store.log.holder(*request.found_by()) or request.stream()
    view = push.view(event.value for event in store.history(stream))  # type: ignore[misc]
    if view is None:
        raise push.UnknownPush(f"push {id} not found")
    return push_documents.restore(view.document, view.blobs, lambda sha: store.blobs.get(sha))


def list_pushes(
    store: Store,
    query: Mapping[str, object] | None = None,
    *,
    after: After = "now",
    limit: int | None = None,
    offset: int = 0,
) -> list[dict[str, Any]]:
    """Return summaries of the pushes whose documents have all fields of `query`, newest first.

    Any top-level field may be asked for, unknown ones too; without a query `PENDING` is. Those
    without a timestamp come last, those with the same in the order of their ids. Only a field
    that no column holds as it is makes this read documents. Raises `PageTooLarge`.
    """
    check_page(limit, offset)
    query = PENDING if query is None else query
    with reading(store, after, pushes) as tables:
        table = tables.current[pushes.NAME].table
        by_column, by_document = _split(table, query)
        found = sa.select(table.c.summary).where(*by_column)
        found = found.order_by(table.c.newest_first, table.c.id)
        if not by_document:
            summaries = tables.connection.execute(found.limit(limit).offset(offset)).scalars()
            return [_parsed(summary) for summary in summaries]
        found = found.add_columns(table.c.document, table.c.blobs)
        end = None if limit is None else offset + limit
        asked = push_documents.forms(by_document)
        with tables.connection.execution_options(yield_per=100).execute(found) as rows:
            fitting = (row[0] for row in rows if _has_fields(row[1], row[2], asked))
            return [_parsed(summary) for summary in islice(fitting, offset, end)]


def list_pushes_of_user(
    store: Store, username: str, emails: Collection[str] = (), *, after: After = "now"
) -> list[dict[str, Any]]:
    """Return summaries of the pushes that somebody made or reviewed, newest first.

    Names and addresses are compared in lower case.
    """
    with reading(store, after, pushes) as tables:
        table = tables.current[pushes.NAME].table
        made = table.c.user_email.in_([email.lower() for email in emails])
        found = sa.select(table.c.summary).where(
            table.c.type == "push", made | (table.c.reviewer == username.lower())
        )
        found = found.order_by(table.c.newest_first, table.c.id)
        return [_parsed(summary) for summary in tables.connection.execute(found).scalars()]


def push_activity(store: Store, *, after: After = "now") -> list[PushActivity]:
    """Return the activity of each repository that was pushed to, by its canonical url."""
    with reading(store, after, pushes) as tables:
        schema = tables.current[pushes.NAME].table.schema
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in PUSH_ACTIVITY.columns]
        view = sa.table(PUSH_ACTIVITY.name, *columns, schema=schema)
        rows = tables.connection.execute(sa.select(view).order_by(view.c.canonical_url))
        return [
            PushActivity(url, *counts, _millis(latest), _millis(latest_pending))  # type: ignore[call-arg]
            for url, *counts, latest, latest_pending in rows
        ]


def _split(
    table: sa.Table, query: Mapping[str, object]
) -> tuple[list[sa.ColumnElement[bool]], dict[str, object]]:
    """Return what columns answer, and what only the document does."""
    by_column, by_document = list[sa.ColumnElement[bool]](), dict[str, object]()
    for name, value in query.items():
        if name in pushes.FLAGS and isinstance(value, bool):
            by_column.append(table.c[pushes.FLAGS[name]] == int(value))
        elif name in pushes.TEXTS and isinstance(value, str) and is_kept_as_it_is(value):
            by_column.append(table.c[pushes.TEXTS[name]] == value)
        else:
            by_document[name] = value
    return by_column, by_document


def _has_fields(
    document: str, blobs: str, asked: Sequence[tuple[Mapping[str, Any], Mapping[str, str]]]
) -> bool:
    """Tell whether a document has all fields that are asked for, in one of the forms of each."""
    kept, cut_out = _parsed(document), _parsed(blobs)
    return all(
        name in kept
        and any(
            push_documents.same(kept[name], fields[name])
            and push_documents.below(name, cut_out) == push_documents.below(name, digests)
            for fields, digests in asked
        )
        for name in asked[0][0]
    )


def _parsed(text: str) -> Any:
    return parse(text.encode())


def _millis(micros: int | None) -> float | None:
    if micros is None:
        return None
    return micros / 1_000 if micros % 1_000 else micros // 1_000
