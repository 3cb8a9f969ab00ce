"""The rows of query tables, as they are kept and as a fold of each family makes them."""

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

from refold.domain import streams
from refold.infrastructure.folding.folder import fold_family
from refold.infrastructure.store import Store
from refold.projections.projection import Key, Projection, Row


def asked(command: str, /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    """Give a command and its fields."""
    return st.tuples(st.just(command), st.fixed_dictionaries(fields))


def rows(store: Store, projections: Sequence[Projection]) -> dict[str, dict[Key, Row]]:
    """Return the rows of live tables by key."""
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        return {
            each.NAME: {
                tuple(row[: len(each.TABLE.primary_key.columns)]): tuple(row)
                for row in store.tables.rows.scan(connection, current[each.NAME])
            }
            for each in projections
        }


def rows_by_family(store: Store, projections: Sequence[Projection]) -> dict[str, dict[Key, Row]]:
    """Return the rows that folds without a database make of each family."""
    found: dict[str, dict[Key, Row]] = {each.NAME: {} for each in projections}
    for family in {streams.family(record.stream) for record in store.log.page(0, 0, 10_000)}:
        for table, family_rows in fold_family(store.family(family), projections).items():
            found[table] |= {key: tuple(row) for key, row in family_rows.items()}
    return found
