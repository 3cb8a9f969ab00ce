"""All rows: those that `refold bench` measures unless it is told which, and the others."""

from typing import Final

from refold.scripts.measure import (
    appends,
    applications,
    copies,
    groups,
    growth,
    imports,
    latency,
    listings,
    loads,
    memory,
    processes,
    questions,
    rebuilds,
    replays,
    sizes,
    tables,
)
from refold.scripts.measure.row import Row

DEFAULT: Final[tuple[Row, ...]] = (
    *appends.ROWS,
    *groups.ROWS,
    *processes.ROWS,
    *latency.ROWS,
    *applications.ROWS,
    *loads.ROWS,
    *replays.ROWS,
    *rebuilds.ROWS,
    *tables.ROWS,
    *copies.ROWS,
    *imports.ROWS,
    *listings.ROWS,
    *questions.ROWS,
    *sizes.ROWS,
)

ALL: Final = (*DEFAULT, *memory.ROWS, *growth.ROWS)
