"""How long the import of a metadata.json takes on SQLite."""

from time import perf_counter
from typing import Final

from refold.infrastructure.legacy.pinshare.importing import import_pinshare
from refold.infrastructure.open import open_store
from refold.projections import files
from refold.scripts.measure import workload
from refold.scripts.measure.row import Goal, Measured, Row
from refold.scripts.measure.site import Site

RECORDS: Final = 30_000


def pinshare(site: Site) -> Measured:
    """Import records of PinShare into a new store, tables and search included.

    With fewer events than records asked for, fewer are imported, and the time is scaled up.
    """
    records = min(RECORDS, site.events)
    path = site.folder / "metadata.json"
    workload.write_metadata_json(path, records)
    measured = Measured(figures={"records": records})
    for number in range(1 if site.quick else 3):
        site.progress("round", number, 1 if site.quick else 3)
        place = site.folder / f"import-{number}"
        place.mkdir()
        with open_store(f"sqlite:///{place / 'files.db'}", create=True) as store:
            started = perf_counter()
            report = import_pinshare(store, path)
            measured.values.append((perf_counter() - started) * RECORDS / records)
            rows = store.folder.digest(files)[1].rows
        if not records == report.imported == rows:
            measured.differences.append(f"{report.imported} were imported, {rows} are in the table")
    return measured


ROWS: Final = (
    Row(
        "import",
        "SQLite: import 30 000 records of PinShare, tables and search included.",
        Goal("at most", 30, "seconds"),
        pinshare,
    ),
)
