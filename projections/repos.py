"""Repositories behind git-proxy: their records, found by name and url."""

import json
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from refold.domain import repo
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.domain.texts import canonical_json
from refold.projections import pushes
from refold.projections.columns import indexable, table, text

NAME: Final = "repos"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"repo"})

TABLE: Final = table(
    NAME,
    "One row a repository that is registered; who may do what is in repo_permissions.",
    text("repo", "the repository's id as its stream in the log is named by it", key=True),
    text("id", "the id, case-sensitive"),
    text("project", "project or organisation", null=True),
    text("name", "name in lower case for look-up, empty for none; several may have the same"),
    text("url", "url, case-sensitive; no two have the same", null=True),
    text("canonical_url", "host[:port]/path in lower case, without .git; see push_activity"),
    text("created_at", "dateCreated as the record has it, ISO 8601", null=True),
    text("modified_at", "lastModified as the record has it, ISO 8601", null=True),
    text("document", "the whole record, JSON, but without its id and users"),
)
INDEXES: Final = (("url",), ("name", "id"), ("canonical_url",))
SEARCH: Final = None


class Row(NamedTuple):
    repo: str
    id: str
    project: str | None
    name: str
    url: str | None
    canonical_url: str
    created_at: str | None
    modified_at: str | None
    document: str


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(family_key(event.recorded.stream),)]


def family(key: tuple[str]) -> str:
    return f"repo-{key[0]}"


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    value: Any = event.value
    document = repo.view_after(json.loads(row.document) if row else None, value)
    if document is None:
        return None
    if isinstance(value, repo.Registered | repo.Imported):
        return _row(key[0], value.id, document)
    return _row(key[0], row.id, document) if row else None


def _row(key: str, id: str, document: repo.Document) -> Row:
    name, url = document.get("name"), document.get("url")
    return Row(
        repo=key,
        id=id,
        project=indexable(document.get("project")),
        name=indexable(name.lower() if isinstance(name, str) else None) or "",
        url=indexable(url),
        canonical_url=indexable(pushes.canonical_url(url)) or "" if isinstance(url, str) else "",
        created_at=indexable(document.get("dateCreated")),
        modified_at=indexable(document.get("lastModified")),
        document=canonical_json(document),
    )
