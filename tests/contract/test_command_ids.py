"""A command id finds its first outcome, also when what led to the stream is gone since."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from refold.domain.errors import CommandIdTaken
from refold.domain.ports import Appended, Command, Log, NewEvent, Write
from refold.domain.user import UnknownUser
from refold.infrastructure import commands
from refold.infrastructure.commands import Done
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store

NUMBERS = count()
BY_NAME = [
    ("user.delete", {}),
    ("user.erase", {}),
    ("user.change", {"profile": {"username": "eve"}}),
    ("user.change", {"unset": ["username"]}),
]


pytestmark = pytest.mark.usefixtures("vault_key")


def test_the_log_tells_the_first_outcome_of_a_command(log: Log) -> None:
    given = [
        Command("1", (write("user-ada", 2), write("user-bob", 1))),
        Command("2", (write("user-ada", 2),)),
        Command("3", (write("user-bob", 1),)),
    ]

    outcomes = log.append(given)

    assert outcomes == [
        Appended(0, 3, "user-bob", 1),
        Appended(0, 5, "user-ada", 4),
        Appended(0, 6, "user-bob", 2),
    ]
    for each in ("1", "2", "3"):
        assert log.outcome(each) == log.append([Command(each, given[int(each) - 1].writes)])[0]
    assert log.outcome("4") is None
    assert log.outcome("") is None


@pytest.mark.parametrize(("name", "fields"), BY_NAME)
def test_who_was_found_by_a_name_that_is_gone_is_not_asked_about_twice(
    store: Store, name: str, fields: dict[str, Any]
) -> None:
    run(store, "user.register", id="1", profile={"username": "ada", "phone": 7})
    first = run(store, name, "same", username="ada", **fields)
    run(store, "user.register", id="2", profile={"username": "bob"})

    again = run(store, name, "same", username="ada", **fields)

    assert first == Done("appended", "user-1", 2, 2)
    assert again == Done("duplicate", "user-1", 2, 2)
    assert store.log.heads()[0].position == 3


def test_the_first_outcome_comes_before_the_version_that_was_expected(store: Store) -> None:
    run(store, "user.register", id="1", profile={"username": "ada"})
    asked: dict[str, Any] = {"command_id": "same", "actor": "tests", "expected": 1}
    commands.run(store, "user.delete", {"username": "ada"}, **asked)

    again = commands.run(store, "user.delete", {"username": "ada"}, **asked)

    assert again.outcome == "duplicate"


def test_a_push_that_was_deleted_by_another_of_its_ids_is_not_asked_about_twice(
    store: Store,
) -> None:
    run(store, "push.record", document={"id": "old", "type": "push", "timestamp": 1})
    run(store, "push.rekey", id="old", new_id="new")
    first = run(store, "push.delete", "same", id="new")

    again = run(store, "push.delete", "same", id="new")

    assert again == Done("duplicate", first.stream, first.version, first.position)


@pytest.mark.parametrize(("name", "fields"), BY_NAME)
def test_a_name_that_another_has_since_leads_to_nobody(
    store: Store, name: str, fields: dict[str, Any]
) -> None:
    run(store, "user.register", id="1", profile={"username": "ada"})
    run(store, name, "same", username="ada", **fields)
    if "profile" in fields:
        run(store, "user.change", id="1", profile={"username": "ida"})
    run(store, "user.register", id="2", profile={"username": "ada"})

    with pytest.raises(CommandIdTaken, match=r"^command id same was already used on user-1$"):
        run(store, name, "same", username="ada", **fields)

    assert len(store.log.stream("user-2")) == 1


def test_a_command_id_of_something_else_is_no_outcome_of_a_users(store: Store) -> None:
    run(store, "file.register", "same", sha256="ab" * 32, cid="bafy1")

    assert run(store, "user.delete", "same", username="ada").outcome == "unchanged"
    with pytest.raises(UnknownUser, match=r"^user ada is not known$"):
        run(store, "user.erase", "same", username="ada")


def test_a_copy_knows_what_was_done_in_the_store_that_it_came_from(
    store: Store, new_url: Callable[[], str]
) -> None:
    run(store, "user.register", id="1", profile={"username": "ada"})
    first = run(store, "user.delete", "same", username="ada")

    with open_store(new_url(), create=True) as target:
        copy(store, target)
        again = run(target, "user.delete", "same", username="ada")

    assert again == Done("duplicate", "user-1", first.version, first.position)


def write(stream: str, events: int) -> Write:
    return Write(stream, None, (NewEvent("user.renamed", 1, b"{}", b"{}"),) * events)


def run(store: Store, name: str, command_id: str | None = None, /, **data: Any) -> Done:
    command_id = command_id or f"{next(NUMBERS)}"
    return commands.run(store, name, data, command_id=command_id, actor="tests")
