"""Folds the whole log with the code at hand, beside, to see what an upgrade would change."""

from collections.abc import Sequence
from dataclasses import dataclass

from refold.domain.errors import Failure
from refold.domain.ports import Recorded
from refold.domain.positions import Positions
from refold.infrastructure.folding.advancing import Advance
from refold.infrastructure.folding.generations import REHEARSING
from refold.infrastructure.folding.rebuilding import Comparison, Rebuilder
from refold.infrastructure.progress import Progress, quietly
from refold.projections.projection import Projection


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would change: tables compared, and events that cannot be read with the reason of each.

    `unfoldable` are the tables that such events stop; they are not compared. The log ended at
    `head`.
    """

    compared: Sequence[Comparison]
    unreadable: Sequence[tuple[Recorded, Failure]]
    unfoldable: Sequence[str]
    head: Positions

    @property
    def changes_nothing(self) -> bool:
        """Tell whether every table can be compared, and is equal, and no row is parked."""
        return not self.unreadable and all(
            each.is_equal and not each.parked for each in self.compared
        )


def rehearse(
    advance: Advance,
    projections: Sequence[Projection],
    samples: int = 0,
    progress: Progress = quietly,
) -> Rehearsal:
    """Fold `projections` beside the live tables, compare where those stand, and remove it again.

    The live tables stay as they are, and so does what a rebuild has made beside them. Raises
    `NoSuchGeneration` when another rehearsal of the same tables begins.
    """
    with advance.tables.reading() as connection:
        live = advance.tables.current(connection)
        standing = advance.standing(connection, live.values())
        stand = {name: one.positions for name, one in zip(live, standing, strict=True)}
    head = advance.head()
    stops = list(advance.unreadable(projections, head, progress))
    unfoldable = {name for _, stopped in stops for name in stopped}
    foldable = [each for each in projections if each.NAME not in unfoldable]
    rebuilder = Rebuilder(advance, REHEARSING)
    reached = [stand[each.NAME] for each in foldable if each.NAME in stand]
    until = Positions.lowest(reached) if reached else None
    try:
        shadows = rebuilder.fill(foldable, progress, until)
    except BaseException:
        rebuilder.drop(foldable, REHEARSING)
        raise
    try:
        compared = rebuilder.compare(shadows, samples, folds_live=False)
    finally:
        rebuilder.remove(shadows)
    return Rehearsal(
        compared,
        [(record, next(iter(stopped.values()))) for record, stopped in stops],
        [each.NAME for each in projections if each.NAME in unfoldable],
        head,
    )
