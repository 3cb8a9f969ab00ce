"""How fast all query tables are folded again from the first event."""

from importlib import resources
from os import cpu_count
from typing import Final

from refold.infrastructure.folding import workers
from refold.infrastructure.open import open_store
from refold.projections import file_counts, file_tags, files, tag_votes
from refold.projections.projection import Projection
from refold.scripts.measure.row import Goal, Measured, Row, paired, seconds
from refold.scripts.measure.site import Connection, Site

OF_FILES: Final[tuple[Projection, ...]] = (files, file_counts, file_tags, tag_votes)


def rebuild(site: Site) -> Measured:
    """Fold new generations of the tables of files, as `refold rebuild` does, against set-based SQL.

    The rows of both are compared, outside the time that is measured. The reference knows the events
    of the workload and no others, cannot go on after a crash, and makes its search vector of
    PostgreSQL's own words (not compared); it makes all indexes last, while refold has its primary
    keys from the start.
    """
    script = (resources.files("refold.scripts.measure") / "rebuild.sql").read_bytes()
    processors = cpu_count() or 1
    with open_store(site.postgres) as store, site.connect(site.postgres) as server:

        def build() -> None:
            with workers.started(store.address, processors) as processes:
                store.folder.build(OF_FILES, workers=processes)

        def refold() -> float:
            site.settle()
            return site.events / seconds(build)

        def reference() -> float:
            for projection in OF_FILES:
                server.execute(f"DROP TABLE IF EXISTS reference.{projection.NAME}".encode())
            site.settle()
            return site.events / seconds(lambda: server.execute(script))

        measured = paired(site, refold, reference, "events")
        for projection in OF_FILES:
            measured.differences += _differences(server, projection)
    measured.figures |= {"events": site.events, "workers": processors}
    return measured


def _differences(server: Connection, projection: Projection) -> list[str]:
    """Compare the columns of a table that the projection declares."""
    name = projection.NAME
    columns = ", ".join(column.name for column in projection.TABLE.columns)
    ours, theirs = (f"SELECT {columns} FROM {schema}.{name}" for schema in ("refold", "reference"))
    query = (
        f"SELECT count(*) FROM (({ours} EXCEPT ALL {theirs})"
        f" UNION ALL ({theirs} EXCEPT ALL {ours})) AS differing"
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
