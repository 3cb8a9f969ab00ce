"""All query tables."""

from typing import Final

from refold.projections import file_counts, file_tags, files, tag_votes
from refold.projections.projection import Projection

ALL: Final[tuple[Projection, ...]] = (files, file_counts, file_tags, tag_votes)


def named(name: str) -> Projection | None:
    """Return the projection of that name, None when there is none."""
    return next((projection for projection in ALL if name == projection.NAME), None)
