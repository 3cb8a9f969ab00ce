"""How fast applications of the eventsourcing library save, on refold and on its own recorders.

Only here the library may be missing: it is the extra `refold[eventsourcing]`.
"""

from functools import partial
from typing import Final, Literal

from refold.domain.errors import Unavailable
from refold.scripts.measure.row import Goal, Measured, Row
from refold.scripts.measure.site import Site

THREADS: Final = 8


def saves(site: Site, engine: Literal["postgresql", "sqlite"], threads: int) -> Measured:
    """Save new aggregates of one event, one a call, on both; the application is the same."""
    try:
        from refold.scripts.measure import library
    except ModuleNotFoundError as error:
        raise Unavailable(
            "the eventsourcing library is not here: install refold[eventsourcing]"
        ) from error
    return library.saves(site, engine, threads)


ROWS: Final = (
    Row(
        "application",
        "PostgreSQL: an application of the eventsourcing library saves, against its own recorder.",
        Goal("at least", 1.0),
        partial(saves, engine="postgresql", threads=1),
    ),
    Row(
        "application-threads",
        "PostgreSQL: the same application saves from 8 threads, against its own recorder.",
        Goal("at least", 3.0),
        partial(saves, engine="postgresql", threads=THREADS),
    ),
    Row(
        "application-sqlite",
        "SQLite: an application of the eventsourcing library saves, against its own recorder.",
        Goal("at least", 1.0),
        partial(saves, engine="sqlite", threads=1),
    ),
    Row(
        "application-sqlite-threads",
        "SQLite: the same application saves from 8 threads, against its own recorder.",
        Goal("at least", 2.0),
        partial(saves, engine="sqlite", threads=THREADS),
    ),
)
