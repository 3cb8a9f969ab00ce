"""Positions of several partitions: how they compare, and how people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain.errors import BadInput
from refold.domain.positions import Positions

EACH = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(lambda each: Positions(tuple(each)))
PAIRS = st.integers(1, 4).flatmap(
    lambda size: st.tuples(
        *[st.tuples(*[st.integers(0, 9)] * size).map(Positions) for _ in range(2)]
    )
)


@given(PAIRS)
def test_what_is_ahead_in_one_partition_and_behind_in_another_covers_nothing(
    pair: tuple[Positions, Positions],
) -> None:
    first, second = pair
    every_way = [mine >= its for mine, its in zip(first.each, second.each, strict=True)]

    assert first.covers(second) == all(every_way)
    assert first.joined(second).covers(first)
    assert first.joined(second).covers(second)
    assert first.covers(Positions.lowest(pair))
    assert (first.beyond(second) == 0) == second.covers(first)
    assert first.joined(second).total == second.total + first.beyond(second)


@given(EACH)
def test_what_is_written_is_read_again(positions: Positions) -> None:
    assert Positions.read(str(positions), len(positions.each)) == positions


@given(EACH)
def test_each_event_has_its_place(positions: Positions) -> None:
    places = [positions.place(number) for number in range(positions.total)]

    assert places == [
        (partition, before) for partition, end in enumerate(positions.each) for before in range(end)
    ]
    with pytest.raises(IndexError):
        positions.place(positions.total)


@given(PAIRS, st.integers(0, 20))
def test_a_step_towards_a_goal_never_leads_past_it(
    pair: tuple[Positions, Positions], events: int
) -> None:
    here, goal = pair

    step = here.towards(goal, events)

    assert step.covers(here)
    assert here.joined(goal).covers(step)
    assert step.total - here.total == min(events, goal.beyond(here))


def test_an_event_is_in_what_goes_that_far_in_its_partition() -> None:
    done = Positions.at(2, 7)

    assert Positions((0, 0, 7)).covers(done)
    assert Positions((9, 9, 6, 9)).covers(done) is False
    assert Positions((9, 9)).covers(done) is False
    assert done.with_one(0, 3) == Positions((3, 0, 7))


def test_one_partition_needs_no_number() -> None:
    assert str(Positions((123,))) == "123"
    assert Positions((123,)).document() == Positions((123,)).stored == 123
    assert str(Positions((123, 0))) == Positions((123, 0)).document() == "0:123,1:0"
    assert Positions((123, 0)).stored == (123, 0)
    assert Positions.read("0:5", 1) == Positions((5,))


@pytest.mark.parametrize("text", ["", "x", "1,2", "0:1,", "-1", "0:1;1:2", "2025-08-05T20:44:29Z"])
def test_what_is_no_position_is_none(text: str) -> None:
    assert Positions.read(text, 2) is None


@pytest.mark.parametrize("text", ["123", "0:1", "0:1,0:2", "0:1,2:3", "0:1,1:2,2:3"])
def test_a_partition_that_is_missing_or_too_many_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="has to name each partition of this log once: 0:"):
        Positions.read(text, 2)
