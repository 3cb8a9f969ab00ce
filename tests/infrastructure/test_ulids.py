"""Ids that sort by time, whatever the clock does."""

import re
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from refold.infrastructure import ulids
from refold.infrastructure.ulids import new_ulid


def test_an_id_begins_with_its_time() -> None:
    before = time.time_ns() // 1_000_000

    id = new_ulid()

    assert re.fullmatch("[0-7][0-9A-HJKMNP-TV-Z]{25}", id)
    made = int("".join(f"{'0123456789ABCDEFGHJKMNPQRSTVWXYZ'.index(each):05b}" for each in id), 2)
    assert before - 1_000 <= made >> 80 <= before + 60_000


def test_ids_of_many_threads_are_unique_and_each_threads_increase() -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: [new_ulid() for _ in range(2_000)], range(4)))

    assert all(ids == sorted(ids) for ids in made)
    assert len({id for ids in made for id in ids}) == 8_000


def test_ids_increase_while_the_clock_stands_or_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([2_000_000_000_000_000_000] * 100 + [1_000_000_000_000_000_000] * 100)
    monkeypatch.setattr(ulids, "_numbers", ulids._Numbers())
    monkeypatch.setattr(ulids, "time_ns", lambda: next(times))

    ids = [new_ulid() for _ in range(200)]

    assert ids == sorted(set(ids))


def test_a_forked_process_makes_other_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ulids, "time_ns", lambda: 0)  # neither gets a fresh start
    parent, child = ulids._Numbers(), ulids._Numbers()
    parent._last = child._last = 2**100

    assert parent.next() != child.next()
