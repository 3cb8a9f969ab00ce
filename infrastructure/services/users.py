"""Users as their systems ask for them: found by name, address, id or key; never with a password."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import sqlalchemy as sa

from refold.domain import user
from refold.domain.errors import BadInput
from refold.domain.sealing import Sealed
from refold.infrastructure import passwords
from refold.infrastructure.codec import EVENTS, parse
from refold.infrastructure.commands import blinded, holder
from refold.infrastructure.push_documents import same
from refold.infrastructure.reading import After, reading
from refold.infrastructure.requests import users as requests
from refold.infrastructure.store import Store
from refold.projections import public_keys, users
from refold.projections.columns import indexable, is_kept_as_it_is, storable

FOUND_BY: Final[Mapping[str, str]] = {
    "username": user.NAME,
    "email": user.EMAIL,
    "oidc_id": user.OIDC_ID,
    "public_key": user.PUBLIC_KEY,
    "device_key": user.DEVICE_KEY,
}
"""What one user only may have, and the kind of its claims."""


def show_user(store: Store, id: str) -> dict[str, Any] | None:
    """Return what is known of the user with that id, as the log has it now; None for nobody.

    The document is git-proxy's: `_id`, the profile, `publicKeys`; it has no password.
    """
    if storable(id) != id:  # no stream has such a name
        return None
    return _document(requests.state(store.history(requests.stream(id))))


def is_known(store: Store, id: str) -> bool:
    """Tell whether there is a user with that id, as the log has it now; nothing sealed is read."""
    if storable(id) != id:
        return False
    stream = requests.stream(id)
    return requests.state(EVENTS.decode_history(stream, store.log.history(stream))).known


def find_user(store: Store, **by: str) -> dict[str, Any] | None:
    """Return the user who has the one thing that is given, one of `FOUND_BY`; None for nobody.

    Names are compared in lower case, addresses case-folded and in NFC, as they are claimed; keys by
    their fingerprints or themselves.
    """
    found = _find(store, by)
    return _document(found) if found else None


def list_users(
    store: Store, query: Mapping[str, object] | None = None, *, after: After = "now"
) -> Iterator[dict[str, Any]]:
    """Yield the users who have all fields of `query`, in the order they became known.

    In a log of several partitions that is the order in their own, and then that of their ids.
    Names and addresses are compared in lower case.
    """
    wanted = user.lower(query or {})
    columns = {
        users.TEXTS[field]: value
        for field, value in wanted.items()
        if field in users.TEXTS and isinstance(value, str) and is_kept_as_it_is(value)
    }
    for profile, keys in _listed(store, columns, after):
        found = _without_password({**profile, "publicKeys": keys})
        if all(name in found and same(found[name], value) for name, value in wanted.items()):
            yield found


def find_user_by_git_account(
    store: Store, account: str, *, after: After = "now"
) -> dict[str, Any] | None:
    """Return the first user with an account at the git host, in any case; None for nobody."""
    wanted = account.lower()
    for profile, keys in _listed(store, {"git_account_lower": wanted}, after):
        if profile["gitAccount"].lower() == wanted:  # not one that looks like it in a column
            return _without_password({**profile, "publicKeys": keys})
    return None


def _listed(
    store: Store, columns: Mapping[str, str], after: After
) -> Iterator[tuple[dict[str, Any], list[Any]]]:
    """Yield profiles and public keys of the users with those texts, as they became known."""
    with reading(store, after, users, public_keys) as tables:
        table = tables.current[users.NAME].table
        found = sa.select(table.c.id, table.c.profile).order_by(table.c.first_position, table.c.id)
        for column, text in columns.items():
            found = found.where(table.c[column] == indexable(text))
        rows = tables.connection.execute(found).all()
        keys = _keys(store, tables.connection, found)
    for id, profile in rows:
        yield parse(profile.encode()), keys.get(id, [])


def verify_password(store: Store, password: str, **by: str) -> bool:
    """Tell whether that is the password of the user who has the one thing that is given."""
    hash = _hash(store, by)
    return hash is not None and passwords.verify(hash, password)


def needs_new_hash(store: Store, **by: str) -> bool:
    """Tell whether to hash the password of a user anew, now that they have given it."""
    hash = _hash(store, by)
    return hash is not None and passwords.needs_rehash(hash)


def _hash(store: Store, by: Mapping[str, str]) -> str | None:
    found = _find(store, by)
    if found is None or not isinstance(found.password, Sealed):
        return None
    hash = store.vault.open(found.password)
    return hash if isinstance(hash, str) else None


def _find(store: Store, by: Mapping[str, str]) -> user.User | None:
    if len(by) != 1 or not by.keys() <= FOUND_BY.keys():
        raise BadInput(f"a user is found by one of {', '.join(FOUND_BY)}")
    [(what, value)] = user.lower(by).items()
    if storable(value) != value:  # no claim holds such a text
        return None
    sought = [value, user.fingerprint_of(value)] if what == "public_key" else [value]
    for each in sought:
        claim = FOUND_BY[what], each
        if stream := holder(store, claim):
            found = requests.state(store.history(stream))
            if blinded(store, claim) in {blinded(store, held) for held in user.claims(found)}:
                return found
    return None


def _document(found: user.User) -> dict[str, Any] | None:
    if not found.known:
        return None
    keys = list(found.keys.values())
    return _without_password({"_id": found.id, **found.profile, "publicKeys": keys})


def _without_password(document: dict[str, Any]) -> dict[str, Any]:
    document.pop("password", None)
    return document


def _keys(
    store: Store, connection: sa.Connection, found: sa.Select[Any, Any]
) -> dict[str, list[Any]]:
    """Return the public keys of the users that `found` selects, in the order they were added."""
    table = store.tables.current(connection)[public_keys.NAME].table
    of_those = table.c.user_id.in_(sa.select(found.subquery().c.id))
    query = sa.select(table.c.user_id, table.c.record).where(of_those)
    by_user: dict[str, list[Any]] = {}
    for id, record in connection.execute(query.order_by(table.c.position, table.c.number)):
        by_user.setdefault(id, []).append(parse(record.encode()))
    return by_user
