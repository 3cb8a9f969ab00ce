"""A vote adds the tag that it is on; that tag has a command id of its own, made from the vote's."""

from collections.abc import Iterator
from typing import Any

import pytest

from refold.domain.errors import CommandIdTaken
from refold.infrastructure import commands
from refold.infrastructure.commands import Done
from refold.infrastructure.open import open_store
from refold.infrastructure.services.files import show_file
from refold.infrastructure.store import Store

SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def store() -> Iterator[Store]:
    """A store in memory that knows one file."""
    with open_store("memory:") as store:
        run(store, "file.register", id="file", cid="cid", name="paper.pdf", type="pdf")
        yield store


def test_an_id_used_for_a_vote_on_another_tag_is_refused(store: Store) -> None:
    run(store, "tag_vote.cast", id="vote", tag="LENR", voter="ada", stance=1)
    before = store.log.page(0, 0, 99)

    with pytest.raises(CommandIdTaken) as refusal:
        run(store, "tag_vote.cast", id="vote", tag="physics", voter="ada", stance=1)

    assert (refusal.value.command_id, refusal.value.stream) == ("vote/tag", f"file-{SHA}")
    assert store.log.page(0, 0, 99) == before
    assert tags(store) == {"LENR": 1}


def test_an_id_used_for_a_vote_on_another_tag_that_is_there_is_refused(store: Store) -> None:
    run(store, "file.add_tag", id="tag", tag="physics")
    run(store, "tag_vote.cast", id="vote", tag="LENR", voter="ada", stance=1)

    with pytest.raises(CommandIdTaken) as refusal:
        run(store, "tag_vote.cast", id="vote", tag="physics", voter="ada", stance=1)

    assert refusal.value.command_id == "vote"
    assert tags(store) == {"LENR": 1, "physics": 0}


def test_an_id_used_for_a_vote_on_a_tag_that_was_there_adds_no_other(store: Store) -> None:
    run(store, "file.add_tag", id="tag", tag="LENR")
    run(store, "tag_vote.cast", id="vote", tag="LENR", voter="ada", stance=1)
    before = store.log.page(0, 0, 99)

    with pytest.raises(CommandIdTaken) as refusal:
        run(store, "tag_vote.cast", id="vote", tag="physics", voter="ada", stance=1)

    assert refusal.value.command_id == "vote"
    assert store.log.page(0, 0, 99) == before
    assert tags(store) == {"LENR": 1}


@pytest.mark.parametrize("removals", [1, 2, 3])
def test_a_vote_tried_again_after_its_tag_was_removed_adds_it_again_and_counts(
    store: Store, removals: int
) -> None:
    run(store, "file.add_tag", id="vote/tag", tag="LENR")  # as a vote that broke off had done
    for n in range(removals):
        run(store, "file.remove_tag", id=f"gone{n}", tag="LENR")
        if n + 1 < removals:
            run(store, "file.add_tag", id=f"vote/tag/{n + 2}", tag="LENR")

    voted = run(store, "tag_vote.cast", id="vote", tag="LENR", voter="ada", stance=1)

    assert voted.outcome == "appended"
    assert tags(store) == {"LENR": 1}


def test_a_vote_that_went_in_is_not_cast_again_when_its_tag_is_gone(store: Store) -> None:
    first = run(store, "tag_vote.cast", id="vote", tag="LENR", voter="ada", stance=1)
    run(store, "file.remove_tag", id="gone", tag="LENR")

    again = run(store, "tag_vote.cast", id="vote", tag="LENR", voter="ada", stance=1)

    assert again == Done("duplicate", first.stream, first.version, first.position)
    assert tags(store) == {}


def run(store: Store, command: str, /, *, id: str, **fields: Any) -> Done:
    return commands.run(store, command, {"sha256": SHA} | fields, command_id=id, actor="tester")


def tags(store: Store) -> dict[str, int]:
    return dict(show_file(store, SHA).tags)
