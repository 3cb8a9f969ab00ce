"""Views of somebody's own on query tables, and grants, outlive what need not end them."""

import psycopg
import pytest

from refold.infrastructure.folding.generations import PREVIOUS
from refold.infrastructure.folding.rows import StillUsed
from refold.infrastructure.open import open_store
from refold.projections import files
from refold.tests.contract.query_tables import generations, refresh, register

COLUMNS = [column.name for column in files.TABLE.columns]


@pytest.mark.parametrize(
    ("before", "stays"),
    [(COLUMNS[:-1], True), (COLUMNS, True), ([COLUMNS[1], COLUMNS[0], *COLUMNS[2:]], False)],
    ids=["a column is added", "none is", "their order changes"],
)
def test_a_view_on_a_table_stays_where_columns_are_added_at_the_end(
    postgres_url: str, before: list[str], stays: bool
) -> None:
    with open_store(postgres_url, create=True) as store, psycopg.connect(postgres_url) as analyst:
        register(store, "one")
        refresh(store, "now")
        for statement in (
            "DROP VIEW refold.files CASCADE",
            f"CREATE VIEW refold.files AS SELECT {', '.join(before)} FROM refold.files_1",
            "GRANT SELECT ON refold.files TO pg_monitor",
            "CREATE VIEW public.mine AS SELECT name FROM refold.files",
        ):
            analyst.execute(statement.encode())
        analyst.commit()

        store.rebuilder.rebuild([files])

        shown = analyst.execute("SELECT * FROM refold.files")
        assert [column.name for column in shown.description or ()] == COLUMNS
        there = analyst.execute(
            "SELECT to_regclass('public.mine') IS NOT NULL,"
            " has_table_privilege('pg_monitor', 'refold.files', 'SELECT')"
        )
        assert there.fetchone() == (stays, stays)


def test_a_table_that_a_view_needs_is_named_with_it_and_stays(postgres_url: str) -> None:
    with open_store(postgres_url, create=True) as store, psycopg.connect(postgres_url) as analyst:
        register(store, "one")
        refresh(store, "now")
        store.rebuilder.rebuild([files])
        analyst.execute("CREATE VIEW public.mine AS SELECT name FROM refold.files_1")
        analyst.commit()

        with pytest.raises(
            StillUsed, match=r"files_1 is not dropped: view public\.mine depends on "
        ):
            store.rebuilder.drop([files], PREVIOUS)

        assert generations(store, "files") == {1: PREVIOUS, 2: "current"}
