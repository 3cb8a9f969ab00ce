"""Who may push to which repository, and who may approve what is pushed."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from refold.domain import repo
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.projections.columns import integer, log_position, table, text

NAME: Final = "repo_permissions"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"repo"})

TABLE: Final = table(
    NAME,
    "One row a role that somebody has; order by granted_position and ordinal: those first first.",
    text("repo", "the repository, as in repos", key=True),
    text("role", "canPush or canAuthorise", key=True),
    text("username", "who has the role, in lower case", key=True),
    log_position("granted_position", "position of the event that granted it"),
    integer("ordinal", "place among those of a role that the same event granted, from 0"),
)
INDEXES: Final = (("username",),)
SEARCH: Final = None

Key = tuple[str, str, str]


class Row(NamedTuple):
    repo: str
    role: str
    username: str
    granted_position: int
    ordinal: int


def keys(event: Event) -> Iterable[Key]:
    key = family_key(event.recorded.stream)
    match event.value:
        case repo.AccessGranted(role, username) | repo.AccessRevoked(role, username):
            return [(key, role, username)]
        case repo.Imported() as new:
            may_push = (*new.can_push, *new.revoked_push)
            may_authorise = (*new.can_authorise, *new.revoked_authorise)
            return _keys(key, may_push, may_authorise)
        case repo.Removed(may_push, may_authorise):
            return _keys(key, may_push, may_authorise)
        case _:
            return []


def family(key: Key) -> str:
    return f"repo-{key[0]}"


def apply(key: Key, row: Row | None, event: Event) -> Row | None:
    match event.value:
        case repo.AccessGranted():
            return Row(*key, event.recorded.position, 0)
        case repo.AccessRevoked() | repo.Removed():
            return None
        case repo.Imported() as new:
            names = new.can_push if key[1] == "canPush" else new.can_authorise
            if key[2] not in names:
                return None
            return Row(*key, event.recorded.position, names.index(key[2]))
        case _:
            return row


def _keys(key: str, may_push: Iterable[str], may_authorise: Iterable[str]) -> list[Key]:
    return [
        *((key, "canPush", username) for username in may_push),
        *((key, "canAuthorise", username) for username in may_authorise),
    ]
