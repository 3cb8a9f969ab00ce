"""Clears tables and files of a person whose key is destroyed, whatever state they are in."""

from collections.abc import Collection, Mapping
from typing import Final

import sqlalchemy as sa

from refold.domain.positions import Positions
from refold.infrastructure.folding.generations import BUILDING, CURRENT, PREVIOUS, Generation
from refold.infrastructure.requests import sessions, users
from refold.infrastructure.store import Store

TOUCHED: Final = frozenset({"user", "session", "repo", "media", "attachment"})
"""Kinds of streams that an erasure writes to."""

Gone = Mapping[str, Collection[str]]
"""Keys of families that are gone, by the kind of their streams."""


def clear(store: Store, gone: Gone) -> list[str]:
    """Bring all tables behind the erasure, and return the generations that had to be dropped.

    Live tables are folded, those before them as well, for a rollback; of those that cannot be
    folded, because another version fills them or an event cannot be read, the live ones lose the
    rows of who is `gone`, and others are dropped. Raises `LogWentBack` and `Unavailable`.
    """
    store.folder.catch_up(wanted=())
    dropped = []
    with store.tables.writing(BUILDING, CURRENT) as connection:
        head = store.advance.head()
        lost = store.tables.lost(connection)
        touched = [
            generation
            for generation in store.tables.generations(connection)
            if generation.projection.KINDS & TOUCHED and generation not in lost
        ]
        for generation in touched:
            if generation.state == CURRENT:
                _remove(store, connection, generation, gone)
            elif generation.state != PREVIOUS or not _folded(store, connection, generation, head):
                store.tables.drop(connection, generation)
                dropped.append(generation.table.name)
            else:
                _remove(store, connection, generation, gone)
    return dropped


def _folded(
    store: Store, connection: sa.Connection, generation: Generation, head: Positions
) -> bool:
    """Fold a generation that could be put in place again, and tell whether that could be done."""
    [standing] = store.advance.standing(connection, [generation])
    if not generation.is_of_this_version or not store.advance.fits(standing):
        return False
    store.advance.fold_up(connection, [generation], head, stops={})
    [standing] = store.advance.standing(connection, [generation])
    return standing.positions.covers(head)


def _remove(store: Store, connection: sa.Connection, generation: Generation, gone: Gone) -> None:
    """Remove rows that a fold could not remove: their key was parked, or their table is stopped."""
    key = generation.table.primary_key.columns[0]
    families = [
        family
        for kind in generation.projection.KINDS
        for family in gone.get(kind, ())
        if not _is_there_again(store, kind, family)
    ]
    if not families:
        return
    for parked in store.tables.parked(connection, generation):
        if parked[0] in families:
            store.tables.unpark(connection, generation, parked)
    connection.execute(generation.table.delete().where(key.in_(families)))


def _is_there_again(store: Store, kind: str, family: str) -> bool:
    """Tell whether somebody took an id meanwhile; those of media are not used again."""
    match kind:
        case "user":
            return users.state(store.history(f"user-{family}")).known
        case "session":
            return bool(sessions.state(store.history(f"session-{family}")).subject)
        case _:
            return False
