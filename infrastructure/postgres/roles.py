"""The role of analysts in PostgreSQL: who may read the query tables and nothing else.

It has no login: grant it to people and tools.
"""

from psycopg.sql import SQL, Identifier

from refold.infrastructure.address import Postgres
from refold.infrastructure.postgres.connection import available, connect
from refold.infrastructure.postgres.rows import ANALYST
from refold.projections import catalog, views


def make_analyst(place: Postgres) -> None:
    """Make the role of analysts, and let it read every query table and view of a store.

    It sees neither the log, nor the keys of sealed fields, nor generations behind the tables.
    Those that come later are granted when they are first shown. Raises `Unavailable` when this
    user of the database may not make roles.
    """
    role, schema = Identifier(ANALYST), Identifier(place.schema)
    shown = [*(each.NAME for each in catalog.ALL), *(view.name for view in views.ALL)]
    with (
        available(place.url),
        connect(place.url, place.connecting, autocommit=False) as connection,
    ):
        there = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (ANALYST,))
        if there.fetchone() is None:
            connection.execute(SQL("CREATE ROLE {} NOLOGIN").format(role))
        connection.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role))
        for name in shown:
            view = Identifier(place.schema, name)
            connection.execute(SQL("GRANT SELECT ON {} TO {}").format(view, role))
