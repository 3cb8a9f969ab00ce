"""Pushes: what git-proxy audited, where each stands, and what a listing shows of it.

The document is git-proxy's own, as of the last decision, without what is big in it; `summary` is
the small part of it that a listing shows, so that no listing reads the document.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from refold.domain import push, times
from refold.domain.ports import Event
from refold.projections.columns import indexable, integer, log_position, table, text
from refold.projections.json_text import json_text

NAME: Final = "pushes"
VERSION: Final = 3  # bump when the rows would differ; the new table fills beside the old
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
    log_position("first_position", "position of the first event since it is known"),
    integer("decided_at_us", "when it was last decided here, in µs since 1970 UTC", null=True),
    integer("said_decided_us", "when its document says that it was decided, in µs", null=True),
    log_position("last_position", "position of its last event"),
    text("summary", "what a listing shows, JSON under 2 kB; what does not fit is left out"),
    text("document", "the document, JSON; null, [] or {} stands for what is in blobs"),
    text("blobs", "strings over 8 KiB, lists and objects over 64: their JSON pointers and SHA-256"),
)
TABLE.dialect_options["sqlite"]["with_rowid"] = True  # rows this wide make a deep tree of keys
INDEXES: Final = (
    ("type", "newest_first", "id"),
    ("newest_first", "id"),
    ("canonical_url",),
    ("user_email",),
    ("reviewer",),
)
SEARCH: Final = None

NO_TIME: Final = 2**63 - 1
"""`newest_first` of what has no timestamp: listed last."""

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
    decided_at_us: int | None
    said_decided_us: int | None
    last_position: int
    summary: str
    document: str
    blobs: str


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(event.recorded.stream,)]


def family(key: tuple[str]) -> str:
    return key[0]


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    value: Any = event.value
    replaced = isinstance(value, push.Recorded | push.Rerecorded | push.Deleted)
    view = push.view_after(None if row is None or replaced else view_of(row), value)
    if view is None:
        return None
    decided_at = row.decided_at_us if row else None
    if isinstance(value, push.Authorised | push.Rejected | push.Canceled):
        decided_at = event.recorded.recorded_at
    position = event.recorded.position
    first = row.first_position if row else position
    return _row(key[0], view, first, decided_at if view.decided else None, position)


def view_of(row: Row) -> push.View:
    """Return the view of the push that a row is of."""
    decided = row.decided_at_us is not None
    return push.View(json.loads(row.document), json.loads(row.blobs), decided)


def _row(stream: str, view: push.View, first: int, decided_at: int | None, last: int) -> Row:
    """Return the row that a view makes, with the positions and when it was decided."""
    document = view.document
    text = json_text(document)
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
        timestamp_text=json_text(document["timestamp"]) if "timestamp" in document else None,
        timestamp_us=time,
        newest_first=NO_TIME if time is None else -time,
        first_position=first,
        decided_at_us=decided_at,
        said_decided_us=_said_decided(document),
        last_position=last,
        summary=_summary(view, text),
        document=text,
        blobs=json_text(view.blobs),
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


def _micros(timestamp: object) -> int | None:
    """Return milliseconds as microseconds, None for what is no time that JavaScript knows."""
    if isinstance(timestamp, bool) or not isinstance(timestamp, int | float):
        return None
    return int(timestamp * 1_000 // 1) if abs(timestamp) <= 8_640_000_000_000_000 else None


def _reviewer(attestation: object) -> str | None:
    reviewer = attestation.get("reviewer") if isinstance(attestation, Mapping) else None
    name = reviewer.get("username") if isinstance(reviewer, Mapping) else None
    return name.lower() if isinstance(name, str) else None


def _said_decided(document: push.Document) -> int | None:
    """Return the time of the decision that the document holds, None for what is no time."""
    decision = document.get("rejection" if document.get("rejected") else "attestation")
    time = decision.get("timestamp") if isinstance(decision, Mapping) else None
    try:
        return times.micros(time) if isinstance(time, str) else None
    except times.NotATime:
        return None


def _flag(value: object) -> int | None:
    return int(value) if isinstance(value, bool) else None


def _summary(view: push.View, text: str) -> str:
    """Return the fields of a document, whose JSON is `text`, that fit: whole ones only.

    One that is left out is in the document.
    """
    cut_out = {pointer.split("/")[1] for pointer in view.blobs}
    fields = _fields(view.document, text)
    found = {name: fields[name] for name in SUMMARY if name in fields and name not in cut_out}
    whole = _ENCODER.encode(found)
    if len(whole) <= MOST_OF_SUMMARY:
        return whole.decode()
    shown: dict[str, msgspec.Raw] = {}
    room = MOST_OF_SUMMARY
    for name, value in found.items():
        size = len(_ENCODER.encode({name: value}))
        if size <= room:
            shown[name] = value
            room -= size
    return _ENCODER.encode(shown).decode()


def _fields(document: push.Document, text: str) -> Mapping[str, msgspec.Raw]:
    """Return the JSON of each field of a document, whose JSON is `text`."""
    try:
        return _FIELDS.decode(text)
    except msgspec.DecodeError:  # a lone surrogate
        return {name: msgspec.Raw(json_text(value).encode()) for name, value in document.items()}


_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ENCODER: Final = msgspec.json.Encoder(order="sorted")
