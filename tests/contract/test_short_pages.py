"""Logs whose events are so large that pages are short: nothing is missing, nothing comes twice."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from refold.domain.ports import Recorded, State
from refold.infrastructure import chain, limits
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import filling, verifying, writing
from refold.infrastructure.folding import building
from refold.infrastructure.moving import renumbering
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import compare
from refold.infrastructure.past import as_of
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.tests.contract.two_stores import register

FILES: Final = 12


@pytest.fixture(autouse=True, params=[1, 500], ids=["each-a-page", "a-few"])
def bytes_of_a_page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", request.param)


@pytest.fixture
def full(engines: tuple[str, str], new_at: Callable[..., Store]) -> Store:
    """A store with some files."""
    store = new_at(engines[0])
    for number in range(FILES):
        register(store, f"{number}", claim=f"claim {number}")
    return store


def test_a_copy_is_equal(full: Store, target: Store) -> None:
    assert copy(full, target).differences == []
    assert _all(target) == _all(full)
    assert compare(full, target).differences == []


def test_a_copy_that_goes_on_in_a_page_is_equal(full: Store, target: Store) -> None:
    target.log.change_state(State.FILLING, log_id=full.log.identity().log_id)
    target.log.receive(_all(full)[:5])

    assert copy(full, target).differences == []
    assert _all(target) == _all(full)


def test_an_archive_has_all_and_fills_a_store(full: Store, target: Store, tmp_path: Path) -> None:
    place = Archive(tmp_path / "archive")

    assert writing.write(full, place).certificate.ends[0].position == FILES
    assert verifying.compare(place, full).ok
    assert filling.fill(filling.survey(place), target).differences == []
    assert _all(target) == _all(full)


@pytest.mark.parametrize("events_a_part", [5, 1_000], ids=["in-parts", "whole"])
def test_tables_are_those_of_large_pages(
    full: Store, monkeypatch: pytest.MonkeyPatch, events_a_part: int
) -> None:
    monkeypatch.setattr(type(full.tables.rows), "events_a_part", events_a_part)
    monkeypatch.setattr(building, "STRETCH", 30)
    full.folder.catch_up()
    short = _digests(full)
    monkeypatch.setattr(limits, "PAGE_BYTES", 16 << 20)
    with as_of(full, full.advance.head(), *catalog.ALL) as past:
        assert short == _digests(past)
    assert max(rows for rows, _ in short) == FILES


def test_a_log_is_numbered_anew(
    full: Store, engines: tuple[str, str], new_at: Callable[..., Store]
) -> None:
    several = new_at(engines[1], 3)

    assert renumbering.move(full, several).differences == []
    assert several.advance.head().total == FILES


def _all(store: Store) -> list[Recorded]:
    return chain.read(store.log, 0, 0, FILES)


def _digests(store: Store) -> list[tuple[int, str]]:
    found = [store.folder.digest(each)[1] for each in catalog.ALL]
    return [(each.rows, each.hex) for each in found]
