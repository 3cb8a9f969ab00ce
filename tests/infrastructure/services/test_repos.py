"""Repositories end to end: records come back as they were given, are found, and name who may."""

import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from time import sleep
from typing import Any

import pytest
import sqlalchemy as sa

from refold.domain import repo
from refold.domain.errors import BadInput, Claimed
from refold.domain.repo import AlreadyRegistered, EmptyField, UnknownRepo
from refold.infrastructure import commands
from refold.infrastructure.commands import Done
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.repos import OfRepo, state
from refold.infrastructure.requests.request import Situation
from refold.infrastructure.services.repos import (
    find_repo,
    is_user_push_allowed,
    list_repos,
    show_repo,
)
from refold.infrastructure.store import Store
from refold.projections import repo_permissions, repos

URL = "https://github.com/Finos/Demo.git"
DEMO = {"project": "finos", "name": "demo", "url": URL}
DATES = {"dateCreated": "2026-08-01T10:00:00.000Z", "lastModified": "2026-08-01T10:00:00.000Z"}
NOBODY: dict[str, list[str]] = {"canPush": [], "canAuthorise": []}
NO_ACTIVITY = {"pending": 0, "approved": 0, "canceled": 0, "rejected": 0, "error": 0}
ID = "SxkJ3Vwozv4n5SfL"
NUMBERS = count()


# --- records ----------------------------------------------------------------------


def test_a_registered_repository_is_shown_with_all_its_fields(store: Store) -> None:
    odd = {"nul\0": "half \ud800", "big": 2**64, "time": 1e22, "deep": [{"x": None}]}

    register(store, ID, {**DEMO, **DATES, **odd, "name": "DEMO"})

    expected = {"_id": ID, **DEMO, **DATES, **odd, "users": NOBODY}
    assert show_repo(store, ID) == expected
    assert find_repo(store, url=URL) == expected
    assert list_repos(store) == [expected | {"activity": NO_ACTIVITY}]


def test_a_new_repository_has_the_dates_of_its_command_and_they_are_git_proxys_text(
    memory: Store,
) -> None:
    register(memory, ID)

    shown = show(memory, ID)
    assert shown["dateCreated"] == shown["lastModified"]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", shown["dateCreated"])


@pytest.mark.parametrize("project", [{"project": None}, {"project": ""}, {}])
def test_a_project_may_be_blank(store: Store, project: dict[str, object]) -> None:
    register(store, ID, {"name": "demo", "url": URL, **DATES, **project})

    assert show(store, ID)["project"] == ""
    assert [each["_id"] for each in list_repos(store, {"project": ""})] == [ID]
    assert list_repos(store, {"project": None}) == []


@pytest.mark.parametrize("blank", ["", " ", None])
@pytest.mark.parametrize("field", ["name", "url"])
def test_a_blank_name_or_url_is_refused(memory: Store, field: str, blank: object) -> None:
    with pytest.raises(EmptyField, match="cannot be empty"):
        register(memory, ID, DEMO | {field: blank})

    assert memory.log.heads()[0].position == 0


def test_a_url_is_registered_once_to_the_letter(store: Store) -> None:
    register(store, "a", DEMO | {"url": URL})

    with pytest.raises(Claimed, match=r"^this repo url is already taken by repo-a$"):
        register(store, "b", DEMO | {"url": URL})
    register(store, "b", DEMO | {"url": URL.lower()})
    with pytest.raises(Claimed, match=r"^this repo url is already taken by repo-b$"):
        run(store, "repo.change", id="a", fields={"url": URL.lower()})
    run(store, "repo.change", id="a", fields={"url": "https://other/demo.git"})
    run(store, "repo.change", id="b", fields={"url": URL})
    with pytest.raises(AlreadyRegistered):
        register(store, "b", DEMO | {"url": "https://third/demo.git"})

    assert [each["url"] for each in list_repos(store)] == ["https://other/demo.git", URL]
    assert find_repo(store, url=URL.lower()) is None


def test_of_many_who_register_a_url_at_the_same_time_one_wins(store: Store) -> None:
    def attempt(n: int) -> bool:
        try:
            register(store, f"r{n}")
        except Claimed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(attempt, range(16)))

    assert sum(won) == 1
    assert [each["_id"] for each in list_repos(store)] == [f"r{won.index(True)}"]


def test_a_change_merges_and_unset_fields_go(store: Store) -> None:
    register(store, ID, {**DEMO, **DATES, "odd": 1, "gone": 2})

    run(store, "repo.change", id=ID, fields={"name": "New", "more": [None]}, unset=["gone"])
    run(store, "repo.change", id=ID, unset=["dateCreated"])

    assert show(store, ID) == {
        "_id": ID, **DEMO, "lastModified": DATES["lastModified"], "name": "new", "odd": 1,
        "more": [None], "users": NOBODY,
    }  # fmt: skip
    assert find_repo(store, name="demo") is None
    assert find_repo(store, name="NEW") == show(store, ID)


def test_what_is_not_there_is_null_and_its_change_no_error(store: Store) -> None:
    foreign = ["66b1f0a2c3d4e5f601234568", "5f0c7f9e-3b1d-4c55-9f57-0d8f4c1f2a10", "'", "x" * 999]

    for id in foreign:
        assert show_repo(store, id) is None
        assert run(store, "repo.change", id=id, fields={"x": 1}).outcome == "unchanged"
        assert run(store, "repo.remove", id=id).outcome == "unchanged"
    for malformed in ("", "nul\0", "half \ud800"):
        assert show_repo(store, malformed) is None
        assert list_repos(store, {"_id": malformed}) == []
        assert find_repo(store, name=malformed) is None
        assert find_repo(store, url=malformed) is None
        assert not is_user_push_allowed(store, malformed, malformed)
    assert find_repo(store) is None
    assert store.log.heads()[0].position == 0


def test_ids_are_opaque_and_kept(store: Store) -> None:
    ids = ["66b1f0a2c3d4e5f601234568", "5F0C7F9E-3b1d-4c55-9f57-0d8f4c1f2a10", "a/b%c", "~a",
           "é" * 200, "id with 'quotes'"]  # fmt: skip
    for id in ids:
        register(store, id, DEMO | {"url": f"https://h/{id}"})
        run(store, "repo.grant", id=id, role="canPush", username=f"of {id}")

    for id in ids:
        assert show(store, id)["_id"] == id
        [listed] = list_repos(store, {"_id": id})
        assert listed["users"]["canPush"] == [f"of {id}".lower()]
    assert show_repo(store, ids[1].lower()) is None
    assert [each["_id"] for each in list_repos(store)] == sorted(ids)


def test_a_removed_repository_is_gone_and_can_be_registered_again(store: Store) -> None:
    register(store, ID, {**DEMO, "odd": 1})
    grant(store, "canPush", "ann")

    run(store, "repo.remove", id=ID)

    assert show_repo(store, ID) is None
    assert find_repo(store, url=URL) is None
    assert list_repos(store) == []
    assert permissions(store) == []
    assert not is_user_push_allowed(store, URL, "ann")
    register(store, "another")
    with pytest.raises(Claimed):
        register(store, ID)
    run(store, "repo.remove", id="another")
    register(store, ID, {**DEMO, **DATES})
    assert show_repo(store, ID) == {"_id": ID, **DEMO, **DATES, "users": NOBODY}


# --- permissions ------------------------------------------------------------------


def test_permissions_are_idempotent_case_blind_and_in_the_order_of_grant(store: Store) -> None:
    register(store, ID)

    for name in ("zoe", "Ann", "ZOE", "max", "ann"):
        grant(store, "canPush", name)
    grant(store, "canAuthorise", "Zoe")
    again = grant(store, "canPush", "MAX")
    run(store, "repo.revoke", id=ID, role="canPush", username="ANN")
    twice = run(store, "repo.revoke", id=ID, role="canPush", username="ann")
    grant(store, "canPush", "Ann")

    users = {"canPush": ["zoe", "max", "ann"], "canAuthorise": ["zoe"]}
    assert (again.outcome, twice.outcome) == ("unchanged", "appended")  # it is a modification
    assert show(store, ID)["users"] == list_repos(store)[0]["users"] == users
    store.rebuilder.rebuild([repos, repo_permissions])
    assert list_repos(store)[0]["users"] == users


def test_the_last_permission_that_is_revoked_leaves_empty_lists(store: Store) -> None:
    register(store, ID)
    for role in NOBODY:
        grant(store, role, "ann")

    for role in NOBODY:
        run(store, "repo.revoke", id=ID, role=role, username="ann")

    assert show(store, ID)["users"] == NOBODY
    assert list_repos(store)[0]["users"] == NOBODY
    found = find_repo(store, name="demo")
    assert found is not None
    assert found["users"] == NOBODY


@pytest.mark.parametrize("role", NOBODY)
@pytest.mark.parametrize("command", ["repo.grant", "repo.revoke"])
def test_permissions_for_an_unknown_repository_are_refused(
    store: Store, command: str, role: str
) -> None:
    with pytest.raises(UnknownRepo, match=r"^Repo not found: there is none with id no/such$"):
        run(store, command, id="no/such", role=role, username="ann")


def test_permissions_that_change_modify_also_a_record_without_dates(store: Store) -> None:
    import_repo(store, ID, DEMO, ["ann"])

    assert "lastModified" not in show(store, ID)
    for name in ("bo", "ann"):  # whether they have the role or not
        before = show(store, ID).get("lastModified", DATES["lastModified"])
        sleep(0.002)
        run(store, "repo.revoke", id=ID, role="canPush", username=name)
        assert show(store, ID)["lastModified"] > before

    shown = show(store, ID)
    assert "dateCreated" not in shown
    assert find_repo(store, name="demo") == shown


def test_who_may_push_or_authorise_is_allowed_until_it_is_revoked(store: Store) -> None:
    register(store, ID)
    assert not is_user_push_allowed(store, URL, "ann")

    grant(store, "canPush", "ann")
    grant(store, "canAuthorise", "bo")

    assert is_user_push_allowed(store, URL, "Ann")
    assert is_user_push_allowed(store, URL, "BO")
    assert not is_user_push_allowed(store, URL, "cy")
    assert not is_user_push_allowed(store, URL.lower(), "ann")
    run(store, "repo.revoke", id=ID, role="canPush", username="Ann")
    assert not is_user_push_allowed(store, URL, "ann")


def test_nobody_is_allowed_to_push_to_an_unknown_repository(store: Store) -> None:
    assert not is_user_push_allowed(store, URL, "ann")


def test_many_who_grant_at_the_same_time_are_all_kept(store: Store) -> None:
    register(store, ID)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: grant(store, "canPush", f"u{n % 16}"), range(32)))

    assert sorted(show(store, ID)["users"]["canPush"]) == sorted(f"u{n}" for n in range(16))
    assert list_repos(store)[0]["users"] == show(store, ID)["users"]
    assert store.log.heads()[0].position == 17


# --- imported records -------------------------------------------------------------


def test_an_imported_record_keeps_its_id_its_fields_and_the_order_of_its_names(
    store: Store,
) -> None:
    names = ["user", "zohara", "pgrau", "User", "ZOHARA", "tueda"]
    record = {"project": None, "name": "Null.git-inside", "url": "https://h:8443/G/n", "odd": [1]}
    register(store, "older", DEMO)
    import_repo(store, "65e11abc944aacd9b25cac9c", record | {"_id": "x", "users": {}}, names)

    run(store, "repo.grant", id="65e11abc944aacd9b25cac9c", role="canPush", username="Ann")

    shown = show(store, "65e11abc944aacd9b25cac9c")
    users = {"canPush": ["user", "zohara", "pgrau", "tueda", "ann"], "canAuthorise": []}
    del shown["lastModified"]
    assert shown == record | {"_id": "65e11abc944aacd9b25cac9c", "users": users}
    found = find_repo(store, name="null.git-INSIDE")
    assert found is not None
    assert found["users"] == users
    assert [each["name"] for each in list_repos(store, {"project": None})] == ["Null.git-inside"]


def test_an_import_takes_roles_away_that_it_does_not_have(store: Store) -> None:
    register(store, ID)
    for name in ("ann", "bo"):
        grant(store, "canPush", name)
        grant(store, "canAuthorise", name)
    list_repos(store)

    import_repo(store, ID, {"name": "demo", "url": "https://elsewhere"}, ["cy", "Ann"], ["bo"])

    users = {"canPush": ["cy", "ann"], "canAuthorise": ["bo"]}
    assert list_repos(store) == [
        {"_id": ID, "name": "demo", "url": "https://elsewhere", "users": users,
         "activity": NO_ACTIVITY}
    ]  # fmt: skip
    assert len(permissions(store)) == 3
    register(store, "another")  # the url that it had is free


def test_records_without_a_url_do_not_get_in_each_others_way(store: Store) -> None:
    import_repo(store, "b", {"url": None, "name": 7})
    import_repo(store, "a", {"url": " "})
    import_repo(store, "c", {"url": " ", "name": "z"})
    run(store, "push.record", document={"id": "p", "type": "push", "url": None})

    assert list_repos(store) == [
        {"_id": "a", "url": " ", "users": NOBODY, "activity": NO_ACTIVITY},
        {"_id": "b", "url": None, "name": 7, "users": NOBODY, "activity": NO_ACTIVITY},
        {"_id": "c", "url": " ", "name": "z", "users": NOBODY, "activity": NO_ACTIVITY},
    ]
    assert [each["_id"] for each in list_repos(store, {"name": 7})] == ["b"]


# --- listing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, ["c", "a", "b"]),
        ({"name": "DEMO"}, ["a", "b"]),
        ({"name": "dem"}, []),
        ({"url": URL}, ["a"]),
        ({"url": URL.lower()}, []),
        ({"project": "finos"}, ["a"]),
        ({"project": "Finos"}, ["b"]),
        ({"name": "Demo", "project": "Finos"}, ["b"]),
        ({"_id": "c"}, ["c"]),
        ({"unknown": [1, {"x": None}]}, ["b"]),
        ({"unknown": [True, {"x": None}]}, []),
        ({"unknown": "x"}, ["c"]),
        ({"nobody has it": None}, []),
        ({"users": {"canPush": ["ann"], "canAuthorise": []}}, ["c"]),
        ({"name": None}, []),
        ({"name": 7}, []),
        ({"dateCreated": DATES["dateCreated"]}, ["a", "b", "c"]),
    ],
)
def test_any_field_may_be_asked_for_and_unknown_ones_filter(
    memory: Store, query: dict[str, object], ids: list[str]
) -> None:
    told: dict[str, dict[str, Any]] = {
        "b": {"name": "Demo", "project": "Finos", "url": "u:b", "unknown": [1, {"x": None}]},
        "a": {},
        "c": {"name": "Étude", "project": None, "url": "u:c", "unknown": "x"},
    }
    for id, fields in told.items():
        register(memory, id, DEMO | DATES | fields)
    run(memory, "repo.grant", id="c", role="canPush", username="ann")
    run(memory, "repo.change", id="c", fields={"name": "a.git.b"})

    expected = sorted(ids, key="cab".index)

    assert [each["_id"] for each in list_repos(memory, query)] == expected


def test_a_listing_is_by_name_and_then_by_id(store: Store) -> None:
    for id, name in [("b", "x"), ("B", "X"), ("é", "x"), ("1", "Z"), ("2", "é"), ("3", "a-b")]:
        register(store, id, DEMO | {"name": name, "url": f"u:{id}"})

    assert [each["_id"] for each in list_repos(store)] == ["3", "B", "b", "é", "1", "2"]
    found = find_repo(store, name="X")
    assert found is not None
    assert found["_id"] == "B"


def test_a_long_url_is_found_as_it_is(store: Store) -> None:
    long = [f"https://h/{'é' * 500}{end}" for end in "ab"]
    for url in long:
        register(store, url[-1], DEMO | {"url": url})

    assert [each["_id"] for each in list_repos(store, {"url": long[1]})] == ["b"]
    assert is_user_push_allowed(store, long[1], "ann") is False


def test_a_listing_tells_the_activity_of_each_repository(store: Store) -> None:
    register(store, "a", DEMO | {"name": "a", "url": "https://Host:8443/Finos/Demo.git"})
    register(store, "b", DEMO | {"name": "b", "url": "https://host/quiet.git"})
    register(store, "c", DEMO | {"name": "c", "url": "git@host:done.git"})
    pushed: list[dict[str, Any]] = [
        {"url": "https://host:8443/finos/demo", "blocked": True, "timestamp": 5.5},
        {"url": "https://u:p@host:8443/finos/demo/", "authorised": True, "timestamp": 1e12},
        {"url": "https://host:8443/finos/demo", "rejected": True, "canceled": True},
        {"url": "https://host:8443/finos/demo", "type": "default", "timestamp": 9e12},
        {"url": "https://host/done", "error": True, "rejected": True, "timestamp": 7},
        {"url": "https://host/done", "canceled": True, "authorised": True, "timestamp": None},
    ]  # fmt: skip
    for n, fields in enumerate(pushed):
        run(store, "push.record", document={"id": f"p{n}", "type": "push", **fields})

    a, b, c = list_repos(store)

    assert a["activity"] == NO_ACTIVITY | {"pending": 1, "approved": 1, "rejected": 1}
    assert (a["latestPushAtMs"], a["latestPendingReviewAtMs"]) == (1e12, 5.5)
    assert b["activity"] == NO_ACTIVITY
    assert not b.keys() & {"latestPushAtMs", "latestPendingReviewAtMs"}
    assert c["activity"] == NO_ACTIVITY | {"error": 1, "canceled": 1}
    assert c["latestPushAtMs"] == 7
    assert "latestPendingReviewAtMs" not in c
    assert "activity" not in show(store, "a")
    run(store, "push.cancel", id="p0")
    [after] = list_repos(store, {"_id": "a"})
    assert after["activity"] == NO_ACTIVITY | {"approved": 1, "rejected": 1, "canceled": 1}
    assert "latestPendingReviewAtMs" not in after


def test_a_listing_may_be_older_than_the_log(memory: Store) -> None:
    done = register(memory, "a", DEMO)
    assert list_repos(memory, after=done.at) != []
    run(memory, "repo.remove", id="a")

    assert [each["_id"] for each in list_repos(memory, after=None)] == ["a"]
    assert find_repo(memory, name="demo", after=None) is not None
    assert list_repos(memory) == []


# --- commands, and moving ---------------------------------------------------------


def test_a_command_asked_for_twice_is_carried_out_once(memory: Store) -> None:
    first = register(memory, ID, command_id="mine")
    run(memory, "repo.remove", id=ID)

    again = register(memory, ID, command_id="mine")

    assert (first.outcome, again.outcome, again.position) == ("appended", "duplicate", 1)
    assert show_repo(memory, ID) is None


@pytest.mark.parametrize(
    ("command", "fields", "why"),
    [
        ("repo.register", {"id": "a"}, "repo.register: document: Field required"),
        ("repo.register", {"id": "a", "document": []}, "repo.register: document: Input should"),
        ("repo.register", {"id": 7, "document": {}}, "repo.register: id: Input should be"),
        ("repo.register", {"id": "a", "document": {"users": {}}}, "field users of a repo is not"),
        ("repo.change", {"id": "a", "fields": {"_id": "b"}}, "field _id of a repo is not set"),
        ("repo.change", {"id": "a", "unset": "name"}, "repo.change: unset: Input should be"),
        ("repo.change", {"id": "a", "name": "x"}, "repo.change: name: Extra inputs are not"),
        ("repo.grant", {"id": "a", "username": "x"}, "repo.grant: role: Field required"),
        ("repo.grant", {"id": "a", "role": "canpush", "username": "x"}, "repo.grant: role: Input"),
        ("repo.revoke", {"id": "a", "role": "canPush", "username": None}, "repo.revoke: username"),
    ],
)
def test_a_malformed_field_is_named(
    memory: Store, command: str, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadInput, match=f"^{why}"):
        run(memory, command, **fields)

    assert memory.log.heads()[0].position == 0


def test_a_copy_has_the_same_repositories_and_keeps_their_urls(
    store: Store, request: pytest.FixtureRequest
) -> None:
    register(store, "a", {**DEMO, "odd": "\ud800"})
    import_repo(store, "b", {"url": "u:b", "name": "Odd"}, ["Zoe", "ann"])
    run(store, "repo.change", id="a", fields={"url": "u:a"})
    path = request.getfixturevalue("tmp_path_factory").mktemp("copy") / "copy.db"
    with open_store(f"sqlite:///{path}", create=True) as target:
        certificate = copy(store, target)

        assert certificate.equal
        assert verify(target).ok
        assert list_repos(target) == list_repos(store)
        assert target.log.claims() == store.log.claims()
        assert [claim.value for claim in target.log.claims()[1]] == ["u:a", "u:b"]


class ImportRepo(OfRepo):
    """What an importer does with one record."""

    document: dict[str, Any]
    can_push: list[str]
    can_authorise: list[str]

    def decide(self, now: Situation) -> Sequence[object]:
        found = state(now.events)
        return repo.import_record(found, self.id, self.document, self.can_push, self.can_authorise)


def import_repo(
    store: Store,
    id: str,
    document: Mapping[str, object],
    can_push: Sequence[str] = (),
    can_authorise: Sequence[str] = (),
) -> None:
    request = ImportRepo(
        id=id,
        document=dict(document),
        can_push=list(can_push),
        can_authorise=list(can_authorise),
    )
    commands.carry_out(store, request, command_id=f"i{next(NUMBERS)}", actor="import")


def register(
    store: Store, id: str, document: Mapping[str, object] = DEMO, *, command_id: str = ""
) -> Done:
    return run(store, "repo.register", command_id=command_id, id=id, document=dict(document))


def grant(store: Store, role: str, username: str) -> Done:
    return run(store, "repo.grant", id=ID, role=role, username=username)


def show(store: Store, id: str) -> dict[str, Any]:
    shown = show_repo(store, id)
    assert shown is not None
    return shown


def permissions(store: Store) -> list[tuple[Any, ...]]:
    with store.tables.reading() as connection:
        table = store.tables.current(connection)["repo_permissions"].table
        return [tuple(row) for row in connection.execute(sa.select(table))]


def run(store: Store, command: str, /, *, command_id: str = "", **fields: Any) -> Done:
    command_id = command_id or f"r{next(NUMBERS)}"
    return commands.run(store, command, fields, command_id=command_id, actor="tester")
