"""How long it takes to import what other systems kept, query tables included."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from statistics import median
from time import perf_counter
from typing import Any, Final

from refold.infrastructure.folding import workers
from refold.infrastructure.legacy.git_proxy.importing import import_git_proxy
from refold.infrastructure.legacy.pinshare.importing import import_pinshare
from refold.infrastructure.open import open_store
from refold.infrastructure.services.pushes import list_pushes, show_push
from refold.projections import files
from refold.projections.pushes import SUMMARY
from refold.scripts.measure import pushes, workload
from refold.scripts.measure.pushes import Engine
from refold.scripts.measure.row import Goal, Measured, Row, seconds
from refold.scripts.measure.site import Site

RECORDS: Final = 30_000
PUSHES: Final = 50_000
WHOLE_PUSHES: Final = 10_000


def pinshare(site: Site) -> Measured:
    """Import records of PinShare into a new store, tables and search included.

    With fewer events than records asked for, fewer are imported, and the time is scaled up.
    """
    records = min(RECORDS, site.events // 3)
    path = site.folder / "metadata.json"
    workload.write_metadata_json(path, records)
    measured = Measured(figures={"records": records})
    for number in range(1 if site.quick else 3):
        site.progress("round", number, 1 if site.quick else 3)
        with open_store(f"sqlite:///{site.new_folder() / 'files.db'}", create=True) as store:
            started = perf_counter()
            report = import_pinshare(store, path)
            measured.values.append((perf_counter() - started) * RECORDS / records)
            rows = store.folder.digest(files)[1].rows
        if not records == report.imported == rows:
            measured.differences.append(f"{report.imported} were imported, {rows} are in the table")
    return measured


def of_pushes(
    site: Site, new: Callable[[Site], AbstractContextManager[Engine]], *, whole: bool = False
) -> Measured:
    """Import a pushes.db of git-proxy into a new store, tables included: records a second.

    Beside it stands what the database takes to insert the same events and rows, once they are made,
    with one statement for each table.
    """
    records = min(WHOLE_PUSHES, site.events // 10) if whole else min(PUSHES, site.events // 5)
    path = site.folder / "pushes.db"
    pushes.write_pushes_db(path, records, whole=whole)
    measured, ratios = Measured(), list[float]()
    rounds = 1 if site.quick else 3
    for number in range(rounds):
        site.progress("round", number, rounds)
        with new(site) as engine:
            started = perf_counter()
            with workers.helping(engine.store):
                report = import_git_proxy(engine.store, [path])
            taken = perf_counter() - started
            measured.values.append(records / taken)
            ratios.append(seconds(engine.copy) / taken)
            if report.imported != records:
                measured.differences.append(f"{report.imported} of {records} were imported")
            measured.differences += differences(engine, records, whole=whole)
    measured.figures |= {
        "records": records,
        "bytes a record": path.stat().st_size // records,
        "ratio to INSERT … SELECT": round(median(ratios), 2),
    }
    return measured


def differences(engine: Engine, records: int, *, whole: bool = False) -> list[str]:
    """Compare the table, its first page and a whole document with what was imported."""
    made = list(islice(pushes.documents(whole=whole), records))
    newest = [_summary(document) for document in made[:-101:-1]]
    [(rows,)] = engine.select("SELECT count(*) FROM pushes")
    wrong = [] if rows == records else [f"the table has {rows} rows instead of {records}"]
    if list_pushes(engine.store, {}, limit=100) != newest:
        wrong.append("the newest pushes are not those that were imported")
    if show_push(engine.store, made[0]["id"]) != made[0]:
        wrong.append("the first push is not as it was imported")
    return wrong


def _summary(document: dict[str, Any]) -> dict[str, Any]:
    return {name: document[name] for name in SUMMARY if name in document}


ROWS: Final = (
    Row(
        "import",
        "SQLite: import 30 000 records of PinShare, tables and search included.",
        Goal("at most", 30, "seconds"),
        pinshare,
    ),
    Row(
        "import-pushes-sqlite",
        "SQLite: import 50 000 pushes of git-proxy, tables included.",
        Goal("at least", 5_000, "records/s"),
        partial(of_pushes, new=pushes.in_sqlite),
    ),
    Row(
        "import-pushes-postgres",
        "PostgreSQL: import 50 000 pushes of git-proxy, tables included.",
        Goal("at least", 5_000, "records/s"),
        partial(of_pushes, new=pushes.in_postgres),
    ),
    Row(
        "import-whole-pushes-sqlite",
        "SQLite: import 10 000 pushes with all their steps, 9 kB each, tables included.",
        Goal("at least", 1_500, "records/s"),
        partial(of_pushes, new=pushes.in_sqlite, whole=True),
    ),
    Row(
        "import-whole-pushes-postgres",
        "PostgreSQL: import 10 000 pushes with all their steps, 9 kB each, tables included.",
        Goal("at least", 1_500, "records/s"),
        partial(of_pushes, new=pushes.in_postgres, whole=True),
    ),
)
