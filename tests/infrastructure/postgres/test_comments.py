"""Query tables as PostgreSQL has them: whoever opens one reads there what each column means."""

import psycopg
import pytest

from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.rows import WIDEST_INLINE
from refold.projections import catalog
from refold.projections import views as over_tables

REGISTRY = ("projections", "plans", "checkpoints", "parked")
COMMENTS = """
SELECT c.relname, coalesce(a.attname, ''), d.description
FROM pg_description d
JOIN pg_class c ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.objsubid AND a.attnum > 0
WHERE c.relnamespace = 'refold'::regnamespace AND c.relkind = ANY (%s)
"""


@pytest.mark.parametrize("generation", [1, 2], ids=["built", "rebuilt"])
def test_tables_and_views_and_all_their_columns_have_comments(
    postgres_url: str, generation: int
) -> None:
    with open_store(postgres_url, create=True) as store:
        for _ in range(generation):
            store.rebuilder.rebuild(catalog.ALL)
    names = [view.name for view in over_tables.ALL]
    with psycopg.connect(postgres_url) as connection:
        views = set(connection.execute(COMMENTS, (["v"],)))
        tables = set(connection.execute(COMMENTS, (["r"],)))
        [(columns,)] = connection.execute(
            "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'refold'"
            " AND (table_name = ANY (%s) OR table_name ~ '_[0-9]+(_search)?$'"
            "      OR table_name = ANY (%s))",
            ([*(projection.NAME for projection in catalog.ALL), *names], list(REGISTRY)),
        ).fetchall()

    declared = {
        (projection.NAME, name, comment)
        for projection in catalog.ALL
        for name, comment in [
            ("", projection.TABLE.comment),
            *((column.name, column.comment) for column in projection.TABLE.columns),
        ]
    }
    on_top = {
        (view.name, name, comment)
        for view in over_tables.ALL
        for name, comment in {"": view.comment, **view.columns}.items()
    }
    assert views == declared | on_top
    assert {(f"{name}_{generation}", *rest) for name, *rest in declared} <= tables
    assert {(name, "") for name in REGISTRY} <= {each[:2] for each in tables}
    assert len([each for each in views | tables if each[1]]) == columns


def test_documents_are_kept_in_their_rows_as_they_are(postgres_url: str) -> None:
    with open_store(postgres_url, create=True) as store:
        store.rebuilder.rebuild(catalog.ALL)
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute(
            "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'refold'::regnamespace AND relname ~ '_1(_search)?$'"
        ).fetchall()

    assert len(tables) == len(catalog.ALL) + 1
    assert {*(options[0] for _, options in tables)} == {f"toast_tuple_target={WIDEST_INLINE}"}
