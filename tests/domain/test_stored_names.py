"""Stored names are kept for ever: this compares them with a copy that only ever grows."""

import inspect
from pathlib import Path
from types import ModuleType

import pytest

from refold.domain import (
    attachment,
    file,
    media,
    migration,
    push,
    removal_vote,
    repo,
    session,
    tag_vote,
    user,
)

AGGREGATES = [
    file,
    tag_vote,
    removal_vote,
    push,
    session,
    user,
    repo,
    media,
    attachment,
    migration,
]
KEPT = Path(__file__).with_name("stored_names.txt")


def test_every_stored_name_is_that_of_the_checked_in_copy() -> None:
    declared = [
        f"{name} {cls.__module__}.{cls.__qualname__}"
        for aggregate in AGGREGATES
        for name, cls in aggregate.STORED_NAMES.items()
    ]

    assert declared == KEPT.read_text().splitlines()


@pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda aggregate: aggregate.__name__)
def test_every_event_of_an_aggregate_has_a_stored_name(aggregate: ModuleType) -> None:
    annotation = inspect.signature(aggregate.evolve).parameters["event"].annotation

    assert set(aggregate.STORED_NAMES.values()) == set(annotation.__args__)
