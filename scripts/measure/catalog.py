"""All rows: those that `refold bench` measures unless it is told which, and the others."""

from importlib.util import find_spec
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
    pauses,
    processes,
    questions,
    rebuilds,
    replays,
    sizes,
    tables,
)
from refold.scripts.measure.row import Row

ALL: Final[tuple[Row, ...]] = (
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
    *pauses.ROWS,
    *imports.ROWS,
    *listings.ROWS,
    *questions.ROWS,
    *sizes.ROWS,
    *memory.ROWS,
    *growth.ROWS,
)

_TO_BE_NAMED: Final = (
    *pauses.ROWS,
    *memory.ROWS,
    *growth.ROWS,
    *(() if find_spec("eventsourcing") else applications.ROWS),
)

DEFAULT: Final = tuple(row for row in ALL if row not in _TO_BE_NAMED)
