"""Users: who they are, without their passwords. Who was erased or deleted stands here no more."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from refold.domain import user
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.domain.texts import canonical_json
from refold.projections.columns import indexable, integer, log_position, table, text

NAME: Final = "users"
VERSION: Final = 2  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"user"})

TABLE: Final = table(
    NAME,
    "One row a user. What is personal goes with the row when the user is erased.",
    text("id", "the id that their system gave them, as it stands in the stream's name", key=True),
    text("username", "name to log in with, in lower case", null=True),
    text("email", "e-mail address, in lower case", null=True),
    text("display_name", "what others see", null=True),
    text("git_account", "account at the git host, as it was given", null=True),
    text("oidc_id", "subject at the identity provider, case-sensitive", null=True),
    text("pubkey", "Ed25519 key in base58, by which decentcom knows the user", null=True),
    integer("admin", "1 may administer, 0 may not"),
    integer("is_bot", "1 is a program"),
    integer("has_password", "1 can log in with a password; its hash is in no table"),
    text("created_at", "when they became known, as their system wrote it", null=True),
    text("profile", "all that is known of them, JSON, with their id as it was given in _id"),
    log_position("first_position", "position of the first event since they are known"),
    text("git_account_lower", "account at the git host in lower case, to find them by", null=True),
)
INDEXES: Final = (
    ("username",),
    ("email",),
    ("oidc_id",),
    ("pubkey",),
    ("first_position",),
    ("git_account_lower",),
)
SEARCH: Final = None

TEXTS: Final[Mapping[str, str]] = {
    "username": "username",
    "email": "email",
    "displayName": "display_name",
    "gitAccount": "git_account",
    "oidcId": "oidc_id",
    "pubkey": "pubkey",
    "createdAt": "created_at",
}
"""Fields of the profile that are texts, and the columns that hold them."""


class Row(NamedTuple):
    id: str
    username: str | None
    email: str | None
    display_name: str | None
    git_account: str | None
    oidc_id: str | None
    pubkey: str | None
    admin: int
    is_bot: int
    has_password: int
    created_at: str | None
    profile: str
    first_position: int
    git_account_lower: str | None


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(family_key(event.recorded.stream),)]


def family(key: tuple[str]) -> str:
    return f"user-{key[0]}"


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    position = row.first_position if row else event.recorded.position
    match event.value:
        case (
            user.Registered(id=id, profile=profile, password=password)
            | user.Imported(id=id, profile=profile, password=password)
        ):
            known = {"_id": id, **user.parsed(profile)}
            return _row(*key, known, password is not None, position)
        case user.Deleted() | user.Erased():
            return None
    if row is None:
        return None
    match event.value:
        case user.Changed() as change:
            before = user.User(profile=json.loads(row.profile))
            kept = row.has_password and "password" not in user.parsed(change.profile)
            has_password = bool(kept or change.password)
            return _row(*key, user.evolve(before, change).profile, has_password, position)
        case _:
            return row


def _row(id: str, profile: Mapping[str, Any], has_password: bool, position: int) -> Row:
    columns: dict[str, Any] = {
        column: indexable(profile.get(field)) for field, column in TEXTS.items()
    }
    account = profile.get("gitAccount")
    return Row(
        id=id,
        admin=int(profile.get("admin") is True),
        is_bot=int(profile.get("isBot") is True),
        has_password=int(has_password),
        profile=canonical_json(profile),
        first_position=position,
        git_account_lower=indexable(account.lower() if isinstance(account, str) else None),
        **columns,
    )
