"""A vote on a tag while others add and remove that tag: it is cast once, and it counts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from pydantic import PrivateAttr

from refold.domain.errors import Conflict
from refold.infrastructure import commands
from refold.infrastructure.commands import Done
from refold.infrastructure.requests.request import Request, Situation
from refold.infrastructure.requests.votes import CastTagVote
from refold.infrastructure.services.files import show_file
from refold.infrastructure.store import Store

SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
NUMBERS = count()


class DisturbedVote(CastTagVote):
    """A vote that lets others act right before its tag is added, and right behind that."""

    _before: Callable[[], object] = PrivateAttr()
    _behind: Callable[[], object] = PrivateAttr()

    def disturbed(self, before: Callable[[], object], behind: Callable[[], object]) -> Request:
        self._before, self._behind = before, behind
        return self

    def decide(self, now: Situation) -> Sequence[object]:
        def first(other: Request, other_id: str) -> object:
            self._before()
            done = now.first(other, other_id)
            self._behind()
            return done

        return super().decide(replace(now, first=first))


@pytest.fixture(autouse=True)
def file(store: Store) -> None:
    """A file that the store knows."""
    run(store, "file.register", cid="cid")


@pytest.mark.parametrize("removals", [1, 3])
def test_a_vote_whose_tag_is_removed_right_behind_its_adding_adds_it_again_and_counts(
    store: Store, removals: int
) -> None:
    done = vote(store, behind=times(removals, lambda: run(store, "file.remove_tag", tag="LENR")))

    assert done.outcome == "appended"
    assert tags(store) == {"LENR": 1}
    assert added(store) == ["vote/tag", *(f"vote/tag/{n}" for n in range(2, removals + 2))]


def test_a_vote_whose_tag_another_adds_and_removes_meanwhile_adds_it_and_counts(
    store: Store,
) -> None:
    done = vote(
        store,
        before=times(1, lambda: run(store, "file.add_tag", "another", tag="LENR")),
        behind=times(1, lambda: run(store, "file.remove_tag", tag="LENR")),
    )

    assert done.outcome == "appended"
    assert tags(store) == {"LENR": 1}
    assert added(store) == ["another", "vote/tag/2"]


def test_a_vote_that_was_disturbed_and_is_asked_again_gives_its_first_outcome(
    store: Store,
) -> None:
    first = vote(store, behind=times(1, lambda: run(store, "file.remove_tag", tag="LENR")))
    run(store, "file.remove_tag", tag="LENR")

    again = vote(store)

    assert again == Done("duplicate", first.stream, first.version, first.position)
    assert tags(store) == {}


def test_of_two_who_ask_the_same_vote_one_casts_it_and_the_other_hears_of_it(
    store: Store,
) -> None:
    outcomes: list[str] = []

    done = vote(store, before=times(1, lambda: outcomes.append(vote(store).outcome)))

    assert [*outcomes, done.outcome] == ["appended", "duplicate"]
    assert tags(store) == {"LENR": 1}


def test_a_vote_by_who_expects_a_version_is_not_decided_again(store: Store) -> None:
    removing = times(1, lambda: run(store, "file.remove_tag", tag="LENR"))

    with pytest.raises(Conflict, match=f"^file-{SHA} is at version 3, not 1$"):
        vote(store, behind=removing, expected=0)

    assert tags(store) == {}


def test_a_vote_whose_tag_is_removed_every_time_gives_up(store: Store) -> None:
    def remove() -> None:
        run(store, "file.remove_tag", tag="LENR")

    with pytest.raises(Conflict):
        vote(store, behind=remove)

    assert len(added(store)) == commands.ATTEMPTS
    assert tags(store) == {}


def vote(
    store: Store,
    *,
    before: Callable[[], object] = bool,
    behind: Callable[[], object] = bool,
    expected: int | None = None,
) -> Done:
    request = DisturbedVote(sha256=SHA, tag="LENR", voter="ada", stance=1)
    disturbed = request.disturbed(before, behind)
    return commands.carry_out(store, disturbed, command_id="vote", actor="tests", expected=expected)


def times(number: int, action: Callable[[], object]) -> Callable[[], object]:
    """Return what does an action the first times that it is called, and then nothing."""
    left = [action] * number
    return lambda: left.pop()() if left else None


def run(store: Store, name: str, id: str | None = None, /, **fields: Any) -> Done:
    data = {"sha256": SHA} | fields
    return commands.run(store, name, data, command_id=id or f"c{next(NUMBERS)}", actor="tests")


def tags(store: Store) -> dict[str, int]:
    return dict(show_file(store, SHA).tags)


def added(store: Store) -> list[str]:
    """Return the ids of the commands that added a tag."""
    records = store.log.stream(f"file-{SHA}")
    return [each.command_id for each in records if each.type == "file.tag_added"]
