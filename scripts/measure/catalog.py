"""All rows."""

from typing import Final

from refold.scripts.measure import (
    appends,
    applications,
    copies,
    groups,
    imports,
    listings,
    loads,
    memory,
    questions,
    rebuilds,
    replays,
    tables,
)
from refold.scripts.measure.row import Row

ALL: Final[tuple[Row, ...]] = (
    *appends.ROWS,
    *groups.ROWS,
    *applications.ROWS,
    *loads.ROWS,
    *replays.ROWS,
    *rebuilds.ROWS,
    *tables.ROWS,
    *copies.ROWS,
    *imports.ROWS,
    *listings.ROWS,
    *questions.ROWS,
    *memory.ROWS,
)
