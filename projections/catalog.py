"""All query tables."""

from collections.abc import Mapping
from typing import Final

from refold.projections import (
    applied_migrations,
    attachments,
    devices,
    file_counts,
    file_tags,
    files,
    media,
    public_keys,
    push_aliases,
    pushes,
    repo_permissions,
    repos,
    sessions,
    tag_votes,
    users,
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
    repos,
    repo_permissions,
    users,
    public_keys,
    devices,
    media,
    attachments,
    applied_migrations,
)


LEFT_OUT: Final[Mapping[str, frozenset[str]]] = {sessions.NAME: frozenset({"sealed"})}
"""Columns, by table, whose values are printed nowhere, sealed as they are."""


def named(name: str) -> Projection | None:
    """Return the projection of that name, None when there is none."""
    return next((projection for projection in ALL if name == projection.NAME), None)
