"""What a query table is: a name, a version, the streams it folds, and a pure fold per key."""

import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import sqlalchemy as sa

from refold.domain.errors import Unfoldable
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

    def family(self, key: Any) -> str:
        """Return the family that all events come from which touch the row of `key`."""
        ...

    def apply(self, key: Any, row: Any, event: Event) -> Any:
        """Return the row of `key` after `event`; None stands for no row, before and after."""
        ...


def kinds(projections: Iterable[Projection]) -> frozenset[str]:
    """Return the kinds of all streams that any of `projections` folds."""
    return frozenset[str]().union(*(projection.KINDS for projection in projections))


class Parked(NamedTuple):
    """Where a fold broke off for a key: `apply` raised `error` at the event at `position`."""

    position: int
    error: str


class Folded(NamedTuple):
    """Rows of a projection that are being folded, by key; None stands for no row.

    Those of keys that are `parked` stay as they are, whatever comes.
    """

    projection: Projection
    rows: dict[Key, Row | None]
    parked: dict[Key, Parked]


_Keys = Callable[[Event], Iterable[Key]]
_Apply = Callable[[Any, Any, Event], Any]
_Add = Callable[[Iterable[Key]], None]


def fold(tables: Iterable[Folded], events: Iterable[tuple[str, Event]]) -> None:
    """Bring the rows of each table behind `events`, which come with the kinds of their streams.

    Each row that exists and is touched must be there. A key whose fold raises is parked: its
    events wait, others go on. Raises `Unfoldable` where it cannot even be told which rows an
    event touches.
    """
    folded_by: dict[str, list[tuple[_Keys, _Apply, Folded]]] = {}
    for table in tables:
        ways = table.projection.keys, table.projection.apply, table
        for kind in table.projection.KINDS:
            folded_by.setdefault(kind, []).append(ways)
    for kind, event in events:
        for keys, apply, (projection, rows, parked) in folded_by.get(kind, ()):
            try:
                touching = keys(event)
            except Exception as error:
                raise _unfoldable(projection, event, error) from error
            for key in touching:
                if parked and key in parked:
                    continue
                try:
                    rows[key] = apply(key, rows.get(key), event)
                except MemoryError:
                    raise
                except Exception as error:
                    parked[key] = Parked(event.recorded.position, _where(error))


def touched(
    projections: Sequence[Projection], events: Iterable[tuple[str, Event]]
) -> list[set[Key]]:
    """Return, for each projection, the keys of all rows that `events` touch.

    Raises `Unfoldable`.
    """
    found: list[set[Key]] = [set() for _ in projections]
    asked: dict[str, list[tuple[Projection, _Keys, _Add]]] = {}
    for projection, touching in zip(projections, found, strict=True):
        for kind in projection.KINDS:
            asked.setdefault(kind, []).append((projection, projection.keys, touching.update))
    for kind, event in events:
        for projection, keys, add in asked.get(kind, ()):
            try:
                add(keys(event))
            except Exception as error:
                raise _unfoldable(projection, event, error) from error
    return found


def _unfoldable(projection: Projection, event: Event, error: Exception) -> Unfoldable:
    return Unfoldable(projection.NAME, event.recorded.position, _where(error))


def _where(error: Exception) -> str:
    """Say what was raised and where, without its text, which may hold what is personal."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


def fingerprint(projection: Projection) -> str:
    """Return the SHA-256 of name, version and columns: rows of another one are not to be mixed."""
    return _fingerprint(projection.NAME, projection.VERSION, projection.TABLE)


@cache  # every reading of a table asks for it
def _fingerprint(name: str, version: int, table: sa.Table) -> str:
    columns = ",".join(f"{column.name}:{column.nullable}" for column in table.columns)
    return sha256(f"{name} {version} {columns}".encode()).hexdigest()
