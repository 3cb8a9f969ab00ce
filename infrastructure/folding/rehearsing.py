"""Folds the whole log with the code at hand, beside, to see what an upgrade would change."""

from collections.abc import Sequence
from dataclasses import dataclass

from refold.domain.errors import Failure, Refused
from refold.domain.ports import Recorded
from refold.domain.positions import Positions
from refold.infrastructure.folding.advancing import Advance
from refold.infrastructure.folding.generations import BUILDING, CURRENT
from refold.infrastructure.folding.rebuilding import Comparison, Rebuilder
from refold.infrastructure.progress import Progress, quietly
from refold.projections.projection import Projection


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What would change: tables compared, and events that cannot be read with the reason of each.

    `unfoldable` are the tables that such events stop; they are not compared.
    """

    compared: Sequence[Comparison]
    unreadable: Sequence[tuple[Recorded, Failure]]
    unfoldable: Sequence[str]

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

    The live tables stay as they are. A new generation that was begun before is used, and stays;
    raises `Refused` for one of another version.
    """
    with advance.tables.reading() as connection:
        generations = advance.tables.generations(connection)
        live = [each for each in generations if each.state == CURRENT]
        standing = advance.standing(connection, live)
        stand = {
            each.projection.NAME: one.positions for each, one in zip(live, standing, strict=True)
        }
    kept = [
        each for each in generations if each.state == BUILDING and each.projection in projections
    ]
    for each in kept:
        if not each.is_of_this_version:
            raise Refused(
                f"a new {each.projection.NAME} of version {each.version} is kept beside the live"
                f" one; refold rebuild {each.projection.NAME} begins it anew"
            )
    stops = list(advance.unreadable(projections, advance.head(), progress))
    unfoldable = {name for _, stopped in stops for name in stopped}
    foldable = [each for each in projections if each.NAME not in unfoldable]
    rebuilder = Rebuilder(advance)
    names = [each.projection.NAME for each in kept]
    reached = [stand[each.NAME] for each in foldable if each.NAME in stand]
    until = Positions.lowest(reached) if reached else None
    try:
        shadows = rebuilder.fill(foldable, progress, until)
        compared = rebuilder.compare(shadows, samples, folds_live=False)
    finally:
        rebuilder.drop([each for each in foldable if each.NAME not in names], BUILDING)
    return Rehearsal(
        compared,
        [(record, next(iter(stopped.values()))) for record, stopped in stops],
        [each.NAME for each in projections if each.NAME in unfoldable],
    )
