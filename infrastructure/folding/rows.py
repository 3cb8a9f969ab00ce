"""What an engine does its own way with the rows of query tables."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Protocol

import sqlalchemy as sa

from refold.domain.errors import Refused
from refold.infrastructure.folding.generations import Generation
from refold.projections.projection import Key, Row
from refold.projections.query import Query
from refold.projections.views import View
from refold.projections.words import ALL_FIELDS, NAME, TAGS

PLACE: Final = "added_place"
"""The column that numbers the rows of a table that can be searched, newest last."""

FIELDS_BY_RANK: Final = {"in_name": NAME, "in_name_or_tags": NAME + TAGS, "anywhere": ALL_FIELDS}
"""What a file of each rank is found in, and in nothing before."""


def search_name(table: sa.Table) -> str:
    """Return the name of the table beside `table` that a search looks at."""
    return f"{table.name}_search"


@dataclass(frozen=True, slots=True)
class Hits:
    """The answer of a search: `total` is at most 10 000, `more` tells that there are others.

    Each of `rows` is (key, name) of a file, in order.
    """

    MOST: ClassVar[int] = 10_000

    total: int
    more: bool
    rows: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, rows: Sequence[Sequence[Any]]) -> "Hits":
        """Return the hits in `rows`, of each the number of candidates, key and name.

        They are counted until there are more than `MOST`. A page without hits is a row of nulls.
        """
        candidates = rows[0][0]
        hits = [(key, name) for _, key, name in rows if key is not None]
        return cls(min(candidates, cls.MOST), candidates > cls.MOST, hits)


class StillUsed(Refused):
    """Something that is not refold's own, such as a view, needs a table that is to be dropped."""


class Rows(Protocol):
    """What an engine does its own way."""

    events_a_part: ClassVar[int]
    """Events that are folded in memory and saved at once when tables are built."""

    def writing(self, engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that may write. Raises `Unavailable`."""
        ...

    def make_way(self, engine: sa.Engine) -> None:
        """Prepare for a transaction that writes much, as others do. Raises `Unavailable`."""
        ...

    def exclude(self, connection: sa.Connection, fence: str) -> None:
        """Wait until this transaction, to its end, is the only one behind that fence."""
        ...

    def reading(self, engine: sa.Engine) -> AbstractContextManager[sa.Connection]:
        """Open a transaction that sees one instant. Raises `Unavailable`."""
        ...

    def create(self, connection: sa.Connection, generation: Generation) -> None:
        """Create the table, and what a search of it needs but indexes."""
        ...

    def create_indexes(self, connection: sa.Connection, generation: Generation) -> None:
        """Create those indexes of a filled table that are not there, and prepare it for readers."""
        ...

    def drop(self, connection: sa.Connection, generation: Generation) -> None:
        """Drop what was created. Raises `StillUsed`."""
        ...

    def lock(
        self, connection: sa.Connection, views: Sequence[str], generations: Sequence[Generation]
    ) -> None:
        """Wait for the readers of `views` and `generations`; new ones wait meanwhile, all at once.

        A reader of two views must never hold one while this transaction holds the other.
        """
        ...

    def show(self, connection: sa.Connection, generation: Generation) -> None:
        """Make the projection's view show this generation."""
        ...

    def view(self, connection: sa.Connection, view: View) -> None:
        """Make a view over query tables, or replace it."""
        ...

    def is_taken(self, connection: sa.Connection, name: str) -> bool:
        """Tell whether no table can have this name, since a table, index or other thing has it."""
        ...

    def let_read(self, connection: sa.Connection, name: str) -> None:
        """Let those read a table or view who may read the query tables."""
        ...

    def refuses(self, error: Exception) -> bool:
        """Tell whether `error` says that a row cannot be kept, not that the engine fails."""
        ...

    def load(
        self, connection: sa.Connection, generation: Generation, keys: Sequence[Key]
    ) -> Iterable[Row]:
        """Return the rows of those `keys` that have one."""
        ...

    def scan(self, connection: sa.Connection, generation: Generation) -> Iterable[Row]:
        """Return all rows in the order of their keys, a page at a time: the declared columns."""
        ...

    def insert(
        self, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        """Insert `rows`, which are not there, and what a search finds of them."""
        ...

    def update(
        self, connection: sa.Connection, generation: Generation, rows: Sequence[Row]
    ) -> None:
        """Replace `rows`, which are there, and what a search finds of them."""
        ...

    def remove(
        self, connection: sa.Connection, generation: Generation, keys: Sequence[Key]
    ) -> None:
        """Remove the rows of `keys`, and what a search finds of them."""
        ...

    def search(
        self,
        connection: sa.Connection,
        generation: Generation,
        query: Query,
        limit: int,
        offset: int,
    ) -> Hits:
        """Return what `query` finds: by name first, then by tags, then by type, newest first.

        Never more than the newest `Hits.MOST` are ranked.
        """
        ...
