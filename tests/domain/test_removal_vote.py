"""A vote on the removal of a file stands once per voter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain.removal_vote import (
    Cast,
    Changed,
    Event,
    RemovalVote,
    Withdrawn,
    after,
    cast,
    swing,
    withdraw,
)
from refold.domain.tag_vote import NotAStance
from refold.domain.texts import IllFormedText


def test_a_first_vote_is_cast() -> None:
    none = RemovalVote()

    assert cast(none, "ada", 1) == [Cast("ada", 1)]
    assert cast(none, "ada", -1) == [Cast("ada", -1)]


def test_the_same_vote_again_is_no_news() -> None:
    voted = after(Cast("ada", -1))

    assert cast(voted, "ada", -1) == []


def test_a_voter_may_turn() -> None:
    voted = after(Cast("ada", -1))

    assert cast(voted, "ada", 1) == [Changed("ada", 1, previous=-1)]


def test_a_vote_is_taken_back_as_it_stands() -> None:
    turned = after(Cast("ada", -1), Changed("ada", 1, previous=-1))

    assert withdraw(turned, "ada") == [Withdrawn("ada", previous=1)]


def test_a_vote_that_does_not_stand_is_not_taken_back() -> None:
    withdrawn = after(Cast("ada", 1), Withdrawn("ada", previous=1))

    assert withdraw(withdrawn, "ada") == []
    assert withdraw(RemovalVote(), "ada") == []


def test_after_taking_back_one_votes_afresh() -> None:
    withdrawn = after(Cast("ada", 1), Withdrawn("ada", previous=1))

    assert cast(withdrawn, "ada", 1) == [Cast("ada", 1)]


@pytest.mark.parametrize("stance", [0, 2, -2])
def test_a_vote_is_1_or_minus_1(stance: int) -> None:
    with pytest.raises(NotAStance):
        cast(RemovalVote(), "ada", stance)


def test_a_voter_has_a_name() -> None:
    with pytest.raises(IllFormedText, match="voter"):
        cast(RemovalVote(), "", 1)


@given(st.lists(st.sampled_from([1, -1, 0])))
def test_the_swings_add_up_to_the_stance(wishes: list[int]) -> None:
    history: list[Event] = []
    for wish in wishes:
        vote = after(*history)
        history += cast(vote, "ada", wish) if wish else withdraw(vote, "ada")

    assert sum(map(swing, history)) == after(*history).stance == (wishes or [0])[-1]
