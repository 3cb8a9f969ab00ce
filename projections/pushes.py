"""Pushes: what git-proxy audited, where each stands, and what a listing shows of it.

The document is git-proxy's own, as of the last decision, without its big strings; `summary` is
the small part of it that a listing shows, so that no listing reads the document.
"""

import json
import re
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any, Final, NamedTuple

from refold.domain import push
from refold.domain.ports import Event
from refold.domain.texts import canonical_json
from refold.projections.columns import integer, storable, table, text

NAME: Final = "pushes"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"push"})

TABLE: Final = table(
    NAME,
    "One row a push, pulls and other audited requests included: see type.",
    text("stream", "the stream of the push in the log, whatever its id is now", key=True),
    text("id", "the id that it has now; older ones are in push_aliases"),
    text("type", "push, pull or default (a request that is neither)", null=True),
    text("status", "error, rejected, canceled, approved or pending: the first that applies"),
    integer("error", "1 a step failed, 0 none; like all flags null where it is absent", null=True),
    integer("blocked", "1 it waits, or waited, for a review", null=True),
    integer("allow_push", "1 it was let through", null=True),
    integer("authorised", "1 the last decision approved it", null=True),
    integer("canceled", "1 the last decision canceled it", null=True),
    integer("rejected", "1 the last decision rejected it", null=True),
    integer("auto_approved", "1 the pre-receive hook approved it", null=True),
    integer("auto_rejected", "1 the pre-receive hook rejected it", null=True),
    text("url", "url of the repository, as it was pushed to", null=True),
    text("canonical_url", "host[:port]/path in lower case, without .git; see push_activity"),
    text("project", "project or organisation", null=True),
    text("repo_name", "name of the repository", null=True),
    text("branch", "the ref that is pushed", null=True),
    text("user_name", "who pushes", null=True),
    text("user_email", "e-mail of who pushes, in lower case for look-up", null=True),
    text("reviewer", "user name of who attested, in lower case for look-up", null=True),
    text("timestamp_text", "the document's timestamp as it is there, JSON", null=True),
    integer("timestamp_us", "the same in microseconds since 1970 UTC, null for no time", null=True),
    integer("newest_first", "what a listing is ordered by, then by id: the time, negative"),
    text("commit_from", "the commit that the ref had, zeros for a new one", null=True),
    text("commit_to", "the commit that it is to have", null=True),
    integer("first_position", "position of the first event since it is known"),
    integer("last_position", "position of its last event"),
    text("summary", "what a listing shows, JSON under 2 kB; what does not fit is left out"),
    text("document", "the whole document, JSON; where blobs has a string there is null"),
    text("blobs", "strings over 8 KiB, JSON: their JSON pointer and the SHA-256 of their bytes"),
)
INDEXES: Final = (
    ("type", "newest_first", "id"),
    ("newest_first", "id"),
    ("canonical_url",),
    ("user_email",),
    ("reviewer",),
)
SEARCH: Final = None

ACTIVITY: Final = "push_activity"
"""The view of how many pushes of each repository stand where, and when the last ones came."""

ACTIVITY_COLUMNS: Final = (
    "canonical_url",
    "pending",
    "approved",
    "canceled",
    "rejected",
    "error",
    "latest_push_us",
    "latest_pending_us",
)

VIEWS: Final[Mapping[str, str]] = {
    ACTIVITY: """
        SELECT canonical_url,
            count(*) FILTER (WHERE status = 'pending') AS pending,
            count(*) FILTER (WHERE status = 'approved') AS approved,
            count(*) FILTER (WHERE status = 'canceled') AS canceled,
            count(*) FILTER (WHERE status = 'rejected') AS rejected,
            count(*) FILTER (WHERE status = 'error') AS error,
            max(timestamp_us) AS latest_push_us,
            max(timestamp_us) FILTER (WHERE status = 'pending') AS latest_pending_us
        FROM {pushes} WHERE type = 'push' GROUP BY canonical_url
    """
}

NO_TIME: Final = 2**63 - 1
"""`newest_first` of what has no timestamp: listed last."""

LONGEST_TEXT: Final = 1_024
"""UTF-8 bytes of a text in a column; `~` and its SHA-256 stand for a longer one."""

MOST_OF_SUMMARY: Final = 1_900
"""Bytes of a summary, in UTF-8."""

FLAGS: Final[Mapping[str, str]] = {
    "error": "error",
    "blocked": "blocked",
    "allowPush": "allow_push",
    "authorised": "authorised",
    "canceled": "canceled",
    "rejected": "rejected",
    "autoApproved": "auto_approved",
    "autoRejected": "auto_rejected",
}
"""Fields of the document that are true or false, and their columns."""

TEXTS: Final[Mapping[str, str]] = {
    "id": "id",
    "type": "type",
    "url": "url",
    "project": "project",
    "repoName": "repo_name",
    "branch": "branch",
    "user": "user_name",
    "commitFrom": "commit_from",
    "commitTo": "commit_to",
}
"""Fields of the document that are texts, and the columns that hold them as they are."""

SUMMARY: Final = (
    "id", "type", "actionType", "method", "timestamp", "error", "blocked", "allowPush",
    "authorised", "canceled", "rejected", "autoApproved", "autoRejected", "url", "project",
    "repoName", "branch", "commitFrom", "commitTo", "user", "userEmail", "author", "protocol",
    "legacyId", "repo", "tags", "message", "blockedMessage", "tagData", "commitData", "attestation",
    "rejection",
)  # fmt: skip
"""Fields that a listing shows, those first that must not be left out when there is no room."""


class Row(NamedTuple):
    stream: str
    id: str
    type: str | None
    status: str
    error: int | None
    blocked: int | None
    allow_push: int | None
    authorised: int | None
    canceled: int | None
    rejected: int | None
    auto_approved: int | None
    auto_rejected: int | None
    url: str | None
    canonical_url: str
    project: str | None
    repo_name: str | None
    branch: str | None
    user_name: str | None
    user_email: str | None
    reviewer: str | None
    timestamp_text: str | None
    timestamp_us: int | None
    newest_first: int
    commit_from: str | None
    commit_to: str | None
    first_position: int
    last_position: int
    summary: str
    document: str
    blobs: str


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(event.recorded.stream,)]


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    value: Any = event.value
    replaced = isinstance(value, push.Recorded | push.Rerecorded | push.Deleted)
    view = push.view_after(None if row is None or replaced else view_of(row), value)
    if view is None:
        return None
    position = event.recorded.position
    return _row(key[0], view, row.first_position if row else position, position)


def view_of(row: Row) -> push.View:
    """Return the view of the push that a row is of."""
    return push.View(json.loads(row.document), json.loads(row.blobs))


def _row(stream: str, view: push.View, first_position: int, last_position: int) -> Row:
    document = view.document
    time = _micros(document.get("timestamp"))
    url = document.get("url")
    email = document.get("userEmail")
    columns: dict[str, Any] = {
        **{column: _flag(document.get(field)) for field, column in FLAGS.items()},
        **{column: indexable(document.get(field)) for field, column in TEXTS.items()},
    }
    return Row(
        stream=stream,
        status=view.status,
        canonical_url=indexable(canonical_url(url)) or "" if isinstance(url, str) else "",
        user_email=indexable(email.lower() if isinstance(email, str) else None),
        reviewer=indexable(_reviewer(document.get("attestation"))),
        timestamp_text=canonical_json(document["timestamp"]) if "timestamp" in document else None,
        timestamp_us=time,
        newest_first=NO_TIME if time is None else -time,
        first_position=first_position,
        last_position=last_position,
        summary=_summary(view),
        document=canonical_json(document),
        blobs=canonical_json(view.blobs),
        **columns,
    )


def canonical_url(url: str) -> str:
    """Return `host[:port]/path` of a remote, however it is written: one name for a repository."""
    scheme, colons, rest = url.strip().partition("://")
    if not colons:
        rest = re.sub(r"^([^/:]+):/*", r"\1/", scheme)  # git@host:path
    host, slash, path = rest.lower().partition("/")
    path = path.strip("/").removesuffix(".git").strip("/")
    return f"{host.rpartition('@')[2]}{slash}{path}".rstrip("/")


def indexable(value: object) -> str | None:
    """Return a text as every engine can index it, `~` and its SHA-256 if it is too long."""
    if not isinstance(value, str):
        return None
    kept = storable(value)
    if len(kept.encode()) > LONGEST_TEXT:
        return "~" + sha256(value.encode(errors="surrogatepass")).hexdigest()
    return kept


def is_kept_as_it_is(text: str) -> bool:
    """Tell whether no other text than this one looks like it in a column."""
    return indexable(text) == text and not _STANDS_FOR_OTHERS.search(text)


def _micros(timestamp: object) -> int | None:
    """Return milliseconds as microseconds, None for what is no time that JavaScript knows."""
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        return None
    return int(timestamp * 1_000 // 1) if abs(timestamp) <= 8_640_000_000_000_000 else None


def _reviewer(attestation: object) -> str | None:
    reviewer = attestation.get("reviewer") if isinstance(attestation, Mapping) else None
    name = reviewer.get("username") if isinstance(reviewer, Mapping) else None
    return name.lower() if isinstance(name, str) else None


def _flag(value: object) -> int | None:
    return int(value) if isinstance(value, bool) else None


def _summary(view: push.View) -> str:
    """Return the fields that fit, whole ones only: one that is left out is in the document."""
    shown: dict[str, object] = {}
    room = MOST_OF_SUMMARY
    cut_out = {pointer.split("/")[1] for pointer in view.blobs}
    for name in SUMMARY:
        if name in view.document and name not in cut_out:
            size = len(canonical_json({name: view.document[name]}).encode())
            if size <= room:
                shown[name] = view.document[name]
                room -= size
    return canonical_json(shown)


_STANDS_FOR_OTHERS: Final = re.compile("^~|[\u2400\ufffd]")
