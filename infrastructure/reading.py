"""Reads the query tables of a store as new as is asked for: who finds them behind folds them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from refold.domain.positions import Positions
from refold.infrastructure.folding.folder import LiveTables
from refold.infrastructure.store import Store
from refold.projections.projection import Projection

After = Positions | Literal["now"] | None
"""How new an answer has to be: at least as of these, all that is in the log, or as it comes."""


@contextmanager
def reading(store: Store, after: After, *wanted: Projection) -> Iterator[LiveTables]:
    """Open the tables folded as far as `after` asks for; those that were never built are.

    A store that has gone along to a log of other partitions folds all: what a position from before
    means is not known there. Raises as `Folder.catch_up` where one of those `wanted` cannot go on.
    """
    goal: Positions | None = None
    if after != "now" and not (after and store.was_renumbered):
        goal = after or Positions(())
    with store.folder.reading(goal, wanted) as tables:
        yield tables
