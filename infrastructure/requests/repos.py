"""Requests about repositories: their records, and who may push to them or approve pushes."""

from collections.abc import Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pydantic import Field

from refold.domain import repo, streams
from refold.domain.ports import Valued
from refold.infrastructure import clock
from refold.infrastructure.requests.request import Fields, Situation

URL: Final = "repo url"
"""The kind of the claims that keep the exact url of each repository its own."""


def state(events: Sequence[Valued]) -> repo.Repo:
    """Return the repository that its events add up to."""
    return repo.after(*(event.value for event in events))  # type: ignore[arg-type]


def claims(values: Sequence[object]) -> Set[tuple[str, str]]:
    """Return kind and value of each claim of a repository with those events; a blank url is none.

    Only an imported record has no url.
    """
    url = repo.after(*values).url  # type: ignore[arg-type]
    return {(URL, url)} if url.strip() else frozenset()


class OfRepo(Fields):
    """What is asked of one repository; its id is any text."""

    id: str

    def stream(self) -> str:
        return streams.name("repo", self.id)

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return claims(values)


class RegisterRepo(OfRepo):
    """Make a repository known: `{"id": …, "document": {"project": …, "name": …, "url": …}}`.

    The document is git-proxy's record without `_id` and `users`; it may have other fields. The
    name is kept in lower case. `dateCreated` and `lastModified` are now unless they are given.
    """

    document: dict[str, Any]

    def decide(self, now: Situation) -> Sequence[object]:
        return repo.register(state(now.events), self.id, self.document, _iso(now))


class ChangeRepo(OfRepo):
    """Set top-level fields of a record, and let those named in `unset` go first."""

    fields: dict[str, Any] = Field(default_factory=dict)
    unset: list[str] = Field(default_factory=list)

    def decide(self, now: Situation) -> Sequence[object]:
        return repo.change(state(now.events), self.fields, self.unset)


class _OfRole(OfRepo):
    role: repo.Role
    username: str


class GrantRepo(_OfRole):
    """Give somebody the role canPush or canAuthorise."""

    def decide(self, now: Situation) -> Sequence[object]:
        return repo.grant(state(now.events), self.id, self.role, self.username, _iso(now))


class RevokeRepo(_OfRole):
    """Take the role canPush or canAuthorise from somebody."""

    def decide(self, now: Situation) -> Sequence[object]:
        return repo.revoke(state(now.events), self.id, self.role, self.username, _iso(now))


class RemoveRepo(OfRepo):
    """Forget a repository; there being none is no error."""

    def decide(self, now: Situation) -> Sequence[object]:
        return repo.remove(state(now.events))


def _iso(now: Situation) -> str:
    """Return the time as JavaScript writes it: UTC, three digits of a second, Z."""
    time = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=clock.now(now.store.log))
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
