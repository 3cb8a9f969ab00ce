"""How fast all query tables are folded again from the first event."""

from importlib import resources
from typing import Final

from refold.infrastructure.open import open_store
from refold.projections import catalog
from refold.projections.projection import Projection
from refold.scripts.measure.row import Goal, Measured, Row, paired, seconds
from refold.scripts.measure.site import Connection, Site


def rebuild(site: Site) -> Measured:
    """Fold new generations of all tables, against the same tables made by set-based SQL.

    The rows of both are compared. The reference knows the events of the workload and no others,
    cannot go on after a crash, and makes its search vector of PostgreSQL's own words (not
    compared); it makes all indexes last, while refold has its primary keys from the start. The
    time of refold holds the digests of the new tables and of those they replace.
    """
    script = (resources.files(__package__) / "rebuild.sql").read_bytes()
    ours = site.postgres
    with (
        site.schema() as theirs,
        site.connect(f"{theirs},{ours}") as server,
        open_store(site.store(ours)) as store,
    ):

        def refold() -> float:
            site.settle()
            return site.events / seconds(lambda: store.folder.build(catalog.ALL))

        def reference() -> float:
            for projection in catalog.ALL:
                server.execute(f"DROP TABLE IF EXISTS {theirs}.{projection.NAME}".encode())
            site.settle()
            return site.events / seconds(lambda: server.execute(script))

        measured = paired(site, refold, reference, "events")
        for projection in catalog.ALL:
            measured.differences += _differences(server, projection, ours, theirs)
    measured.figures["events"] = site.events
    return measured


def _differences(server: Connection, projection: Projection, ours: str, theirs: str) -> list[str]:
    """Compare the columns of a table that the projection declares."""
    name = projection.NAME
    columns = ", ".join(column.name for column in projection.TABLE.columns)
    one, other = (f"SELECT {columns} FROM {schema}.{name}" for schema in (ours, theirs))
    query = (
        f"SELECT count(*) FROM (({one} EXCEPT ALL {other}) UNION ALL ({other} EXCEPT ALL {one})) d"
    )
    [(differing,)] = server.execute(query.encode()).fetchall()
    return [f"{differing} rows of {name} differ from those of the reference"] if differing else []


ROWS: Final = (
    Row(
        "rebuild",
        "PostgreSQL: fold all tables again, against set-based INSERT … SELECT, indexes after.",
        Goal("at least", 0.5),
        rebuild,
    ),
)
