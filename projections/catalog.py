"""All query tables."""

from collections.abc import Mapping
from typing import Final

from refold.projections import (
    file_counts,
    file_tags,
    files,
    push_aliases,
    pushes,
    sessions,
    tag_votes,
)
from refold.projections.projection import Projection

ALL: Final[tuple[Projection, ...]] = (
    files,
    file_counts,
    file_tags,
    tag_votes,
    sessions,
    pushes,
    push_aliases,
)

VIEWS: Final[Mapping[str, Mapping[str, str]]] = {pushes.NAME: pushes.VIEWS}
"""Views that aggregate a query table, by its name: SQL where {name} stands for the table."""


def named(name: str) -> Projection | None:
    """Return the projection of that name, None when there is none."""
    return next((projection for projection in ALL if name == projection.NAME), None)
