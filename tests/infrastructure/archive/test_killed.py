"""kill -9 of a copy to or from an archive: run again, it ends as if nothing had been."""

import json
import signal
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import sleep
from typing import Final

import pytest

from refold.domain.ports import State
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import writing
from refold.infrastructure.archive.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.tests.infrastructure.archive.conftest import do, everything
from refold.tests.infrastructure.faults.events import many, registration
from refold.tests.infrastructure.faults.processes import PATIENCE, start_refold

EVENTS: Final = 9_000
DELAYS: Final = (0.0, 0.01, 0.03, 0.02)
INSIDE: Final = 2
"""How often at least the kill of a test has to strike inside its work."""


@pytest.fixture
def longer(new_store: Callable[[], Store]) -> Store:
    """A store with 9 000 events."""
    store = new_store()
    store.log.append(list(many(EVENTS)))
    return store


def test_an_archive_that_is_killed_anywhere_goes_on_and_ends_whole(
    longer: Store, place: Archive, tmp_path: Path
) -> None:
    arguments = ("copy", longer.address.public, place.public, "--json")
    inside = 0
    sizes = [0]

    for delay in DELAYS:
        process = start_refold(*arguments, output=tmp_path / "printed")
        while process.is_alive() and size(place) <= sizes[-1]:
            sleep(0.001)
        sizes.append(killed(process, delay, lambda: size(place)))
        inside += verify(place).bad is not None
    start_refold(*arguments, output=tmp_path / "printed").join(PATIENCE)

    report = verify(place)
    assert inside >= INSIDE
    assert sizes == sorted(sizes)
    assert (report.ok, report.position) == (True, EVENTS)
    assert json.loads((tmp_path / "printed").read_text())["partitions"][0]["chain"] == (
        report.chain.hex()
    )


def test_an_archive_with_keys_has_them_whenever_its_successor_is_killed(
    longer: Store, place: Archive, tmp_path: Path
) -> None:
    do(longer, "user.register", id="ada", profile={"username": "ada"})
    writing.write(longer, place, with_keys=True)
    keys = longer.log.keys()
    do(longer, "user.register", id="bo", profile={"username": "bo"})
    longer.log.append([registration(f"more-{n}", f"more-{n}") for n in range(5_000)])
    part = place.path.with_name("backup.zst.part")
    before = place.path.stat().st_size
    arguments = ("copy", longer.address.public, place.public, "--with-keys", "--json")
    inside = 0

    for delay in DELAYS[:3]:
        process = start_refold(*arguments, output=tmp_path / "printed")
        while process.is_alive() and not part.exists():
            sleep(0.001)
        killed(process, delay, lambda: size(place))
        inside += part.exists() and place.path.stat().st_size == before
        assert verify(place).ok
        assert verify(place).keys in (keys, longer.log.keys())
    start_refold(*arguments, output=tmp_path / "printed").join(PATIENCE)

    assert inside >= INSIDE
    assert verify(place).ok
    assert verify(place).keys == longer.log.keys()
    assert not part.exists()


def test_a_store_whose_filling_is_killed_anywhere_goes_on_and_ends_equal(
    longer: Store, place: Archive, tmp_path: Path
) -> None:
    writing.write(longer, place)
    url = f"sqlite:///{tmp_path / 'target.db'}"
    arguments = ("copy", place.public, url, "--json")
    inside = 0

    with open_store(url, create=True) as target:
        for delay in DELAYS:
            before = position(target)
            process = start_refold(*arguments, output=tmp_path / "printed")
            while process.is_alive() and position(target) <= before:
                sleep(0.001)
            after = killed(process, delay, lambda: position(target))
            inside += before < after < EVENTS
            assert target.log.heads()[0].state is (State.OPEN if after == 0 else State.FILLING)
        start_refold(*arguments, output=tmp_path / "printed").join(PATIENCE)

        assert inside >= INSIDE
        assert everything(target) == everything(longer)
        assert target.log.heads()[0].state is State.OPEN
        assert json.loads((tmp_path / "printed").read_text())["equal"]


def killed(process: BaseProcess, delay: float, progress: Callable[[], int]) -> int:
    """Kill a process after a moment, and tell how far its work is."""
    process.join(delay)
    process.kill()
    process.join(PATIENCE)
    assert process.exitcode in (0, -signal.SIGKILL)
    return progress()


def size(place: Archive) -> int:
    return place.path.stat().st_size if place.path.exists() else 0


def position(store: Store) -> int:
    return store.log.heads()[0].position
