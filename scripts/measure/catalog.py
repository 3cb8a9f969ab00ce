"""All rows."""

from typing import Final

from refold.scripts.measure import appends, copies, imports, memory, rebuilds
from refold.scripts.measure.row import Row

ALL: Final[tuple[Row, ...]] = (
    *appends.ROWS,
    *rebuilds.ROWS,
    *copies.ROWS,
    *imports.ROWS,
    *memory.ROWS,
)
