"""Data migrations of a service: which ones it has run."""

import sqlalchemy as sa

from refold.infrastructure.reading import After, reading
from refold.infrastructure.store import Store
from refold.projections import applied_migrations


def applied(store: Store, *, after: After = "now") -> list[str]:
    """Return the ids of the migrations that were run and not taken back, in order."""
    with reading(store, after, applied_migrations) as tables:
        table = tables.current[applied_migrations.NAME].table
        return list(tables.connection.execute(sa.select(table.c.id).order_by(table.c.id)).scalars())
