"""What a query table is: a name, a version, the streams it folds, and a pure fold per key."""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Any, Protocol

import sqlalchemy as sa

from refold.domain.ports import Event
from refold.projections.words import Document

Key = tuple[str, ...]
Row = tuple[Any, ...]


class Projection(Protocol):
    """A module of this folder. `apply` is a function of its arguments and of nothing else.

    `Row` is a named tuple of the columns of `TABLE`, in order; its key columns come first.
    """

    @property
    def NAME(self) -> str:
        """Return what the table's view is called."""
        ...

    @property
    def VERSION(self) -> int:
        """Return the number that is bumped when the rows would differ."""
        ...

    @property
    def KINDS(self) -> frozenset[str]:
        """Return the kinds of streams that are folded."""
        ...

    @property
    def TABLE(self) -> sa.Table:
        """Return the declaration of the table."""
        ...

    @property
    def INDEXES(self) -> tuple[tuple[str, ...], ...]:
        """Return the columns of each index beside the key."""
        ...

    @property
    def SEARCH(self) -> Callable[[Any], Document] | None:
        """Return what tells the words of a row, for a table that can be searched."""
        ...

    @property
    def Row(self) -> Callable[..., Any]:
        """Return the class of the rows."""
        ...

    def keys(self, event: Event) -> Iterable[Key]:
        """Return the keys of all rows that `event` touches."""
        ...

    def apply(self, key: Any, row: Any, event: Event) -> Any:
        """Return the row of `key` after `event`; None stands for no row, before and after."""
        ...


def kinds(projections: Iterable[Projection]) -> frozenset[str]:
    """Return the kinds of all streams that any of `projections` folds."""
    return frozenset[str]().union(*(projection.KINDS for projection in projections))


def fold(
    tables: Iterable[tuple[Projection, dict[Key, Row | None]]], events: Iterable[tuple[str, Event]]
) -> None:
    """Bring the rows of each table behind `events`, which come with the kinds of their streams.

    Each row that exists and is touched must be there; None stands for no row.
    """
    folded_by: dict[str, list[tuple[Any, Any, dict[Key, Row | None]]]] = {}
    for projection, rows in tables:
        for kind in projection.KINDS:
            folded_by.setdefault(kind, []).append((projection.keys, projection.apply, rows))
    for kind, event in events:
        for keys, apply, rows in folded_by.get(kind, ()):
            for key in keys(event):
                rows[key] = apply(key, rows.get(key), event)


def fingerprint(projection: Projection) -> str:
    """Return the SHA-256 of name, version and columns: rows of another one are not to be mixed."""
    columns = ",".join(f"{column.name}:{column.nullable}" for column in projection.TABLE.columns)
    return sha256(f"{projection.NAME} {projection.VERSION} {columns}".encode()).hexdigest()
