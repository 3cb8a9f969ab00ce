"""A vote on a tag counts within its generation, once per voter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain.tag_vote import (
    Cast,
    Changed,
    Event,
    NotAStance,
    TagVote,
    Withdrawn,
    after,
    cast,
    swing,
    withdraw,
)
from refold.domain.texts import IllFormedText

FOR = Cast("LENR", "ada", 1, 1)


def test_a_first_vote_is_cast() -> None:
    none = TagVote()

    assert cast(none, "LENR", "ada", 1, -1) == [Cast("LENR", "ada", 1, -1)]


def test_the_same_vote_again_is_no_news() -> None:
    voted = after(FOR)

    assert cast(voted, "LENR", "ada", 1, 1) == []


def test_a_voter_may_turn() -> None:
    voted = after(FOR)

    assert cast(voted, "LENR", "ada", 1, -1) == [Changed("LENR", "ada", 1, -1, previous=1)]


def test_after_turning_the_new_stance_is_the_one_that_stands() -> None:
    turned = after(FOR, Changed("LENR", "ada", 1, -1, previous=1))

    assert cast(turned, "LENR", "ada", 1, -1) == []
    assert withdraw(turned, "LENR", "ada", 1) == [Withdrawn("LENR", "ada", 1, previous=-1)]


def test_a_vote_is_taken_back() -> None:
    voted = after(FOR)

    assert withdraw(voted, "LENR", "ada", 1) == [Withdrawn("LENR", "ada", 1, previous=1)]


def test_a_vote_that_does_not_stand_is_not_taken_back() -> None:
    withdrawn = after(FOR, Withdrawn("LENR", "ada", 1, previous=1))

    assert withdraw(withdrawn, "LENR", "ada", 1) == []
    assert withdraw(TagVote(), "LENR", "ada", 1) == []


def test_after_taking_back_one_votes_afresh() -> None:
    withdrawn = after(FOR, Withdrawn("LENR", "ada", 1, previous=1))

    assert cast(withdrawn, "LENR", "ada", 1, 1) == [Cast("LENR", "ada", 1, 1)]


def test_a_vote_in_another_generation_starts_afresh() -> None:
    voted = after(FOR)

    assert cast(voted, "LENR", "ada", 2, 1) == [Cast("LENR", "ada", 2, 1)]
    assert cast(voted, "LENR", "ada", 2, -1) == [Cast("LENR", "ada", 2, -1)]


def test_a_vote_of_another_generation_is_not_taken_back() -> None:
    voted = after(FOR)

    assert withdraw(voted, "LENR", "ada", 2) == []


@pytest.mark.parametrize("stance", [0, 2, -2, 2**63])
def test_a_vote_is_1_or_minus_1(stance: int) -> None:
    with pytest.raises(NotAStance, match=f"a vote is 1 or -1, not {stance}"):
        cast(TagVote(), "LENR", "ada", 1, stance)


@pytest.mark.parametrize("voter", ["", "a\0", "\ud800", "two\nlines", "v" * 257])
def test_a_voter_has_a_name(voter: str) -> None:
    with pytest.raises(IllFormedText, match="voter"):
        cast(TagVote(), "LENR", voter, 1, 1)


@given(st.lists(st.sampled_from([1, -1, 0])))
def test_the_swings_of_one_generation_add_up_to_the_stance(wishes: list[int]) -> None:
    history: list[Event] = []
    for wish in wishes:
        vote = after(*history)
        history += cast(vote, "LENR", "ada", 1, wish) if wish else withdraw(vote, "LENR", "ada", 1)

    assert sum(map(swing, history)) == after(*history).stance == (wishes or [0])[-1]
