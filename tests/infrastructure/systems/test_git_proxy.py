"""git-proxy's Sink on every engine: what its own tests say, and what its backends get wrong."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any, Final

import pytest

from refold.domain.errors import BadInput, Claimed, Conflict, Refused
from refold.domain.push import InvalidId, UnknownPush
from refold.domain.repo import EmptyField as EmptyRepoField
from refold.domain.repo import UnknownRepo
from refold.domain.user import EmptyField, KnownKey, NotAProfile, UnknownUser
from refold.infrastructure import commands
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.open import open_store
from refold.infrastructure.passwords import hash_password
from refold.infrastructure.store import Store
from refold.infrastructure.systems.git_proxy import DuplicateSSHKeyError, Sink, UserExists

Json = dict[str, Any]

A, B = "a" * 40, "b" * 40
ID: Final = f"{A}__{B}"
URL: Final = "https://github.com/finos/demo.git"
PUSH: Final[Json] = {
    "id": ID,
    "type": "push",
    "method": "POST",
    "timestamp": 1_744_380_903_338,
    "project": "finos",
    "repoName": "demo.git",
    "url": URL,
    "steps": [],
    "error": False,
    "blocked": True,
    "allowPush": False,
    "authorised": False,
    "canceled": False,
    "rejected": False,
    "user": "bob",
    "userEmail": "Bob@example.com",
}
FLAGS: Final = ("authorised", "canceled", "rejected")
CAROL: Final = {"username": "carol", "email": "carol@example.com"}
ATTESTATION: Final[Json] = {
    "reviewer": CAROL,
    "timestamp": "2026-01-01T00:00:00.000Z",
    "answers": [{"label": "I am happy", "checked": True, "tooltip": {"text": "x"}}],
}
REJECTION: Final[Json] = {
    "reviewer": {**CAROL, "displayName": "Carol"},
    "timestamp": "2026-08-02T10:00:00.000Z",
    "reason": "no",
}
REPO: Final[Json] = {"project": "finos", "name": "demo", "url": URL}
HASH: Final = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
USER: Final[Json] = {
    "username": "Alice",
    "password": HASH,
    "gitAccount": "Alice-GH",
    "email": "Alice@Example.com",
    "admin": False,
    "publicKeys": [],
}
KEY: Final[Json] = {
    "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbr4hKymqyaVWWeqODStc8zkhGN8F2Rh/I5MFh2CTSG",
    "name": "desk ✓",
    "addedAt": "2024-10-25T15:57:49.883Z",
    "fingerprint": "SHA256:9/Vh/0KMLsd6Uts5AVdOLEWAuVCmuQ0f0BFKYDORPAo",
}
OTHER_KEY: Final[Json] = {
    "key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOf70JRsdGlHTaZCKkzGaiigcrEVs3xvbzeDnDnXe5R9",
    "name": "Unnamed Key",
    "addedAt": "2024-12-15T15:10:51.009Z",
    "fingerprint": "SHA256:mbbrcTerOuTKYMLMxzV4ja2dTWBoKl8PFd5PlVdSZsM",
}
MALFORMED: Final = ["", "\0", "\ud800", "x" * 5_000, "not an ObjectId", "66b1f0a2c3d4e5f601234567"]


@pytest.fixture
def sink(store: Store) -> Sink:
    return Sink(store)


# --- pushes: documents ------------------------------------------------------------


def test_a_push_comes_back_as_it_was_audited(sink: Sink) -> None:
    document = {**PUSH, "jiraTickets": ["A-1"], "steps": [{"content": "\0\u2028\ud800", "n": 7.5}]}

    sink.write_audit({**document, "_id": "s0pgSB7Y9Ebiavzd"})

    assert sink.get_push(ID) == document


def test_a_diff_of_a_megabyte_comes_back_and_is_in_no_listing(sink: Sink) -> None:
    diff = "diff --git a/x b/x\n+hi\n" * 50_000
    step = {"stepName": "diff", "content": diff, "logs": [f"diff - {diff}"]}
    document = {**PUSH, "steps": [step], "lastStep": step}

    sink.write_audit(document)

    assert sink.get_push(ID) == document
    [listed] = sink.get_pushes()
    assert not {"steps", "lastStep", "_id"} & listed.keys()
    assert len(json.dumps(listed)) < 2_000


@pytest.mark.parametrize("id", [5, None, ["x"]])
def test_an_id_that_is_no_text_is_refused(sink: Sink, id: object) -> None:
    with pytest.raises(InvalidId, match=r"^Invalid id"):
        sink.write_audit({**PUSH, "id": id})

    assert sink.get_pushes({}) == []


@pytest.mark.parametrize("id", MALFORMED)
def test_an_id_that_nobody_has_finds_no_push_and_deletes_none(sink: Sink, id: str) -> None:
    sink.write_audit(PUSH)

    assert sink.get_push(id) is None
    sink.delete_push(id)

    assert len(sink.get_pushes()) == 1


def test_an_audit_again_replaces_the_whole_document(sink: Sink) -> None:
    sink.write_audit({**PUSH, "pluginRisk": 7})
    sink.reject(ID, REJECTION)

    sink.write_audit({**PUSH, "message": "again"})

    assert sink.get_push(ID) == {**PUSH, "message": "again"}


def test_an_authorised_push_that_comes_again_is_let_through_as_it_was_stored(sink: Sink) -> None:
    sink.write_audit(PUSH)
    sink.authorise(ID, ATTESTATION)

    sink.write_audit({**PUSH, "message": "again"})

    decided = {"authorised": True, "attestation": ATTESTATION}
    assert sink.get_push(ID) == {**PUSH, **decided, "allowPush": True, "blocked": False}


def test_an_authorised_push_that_comes_again_with_an_error_is_replaced(sink: Sink) -> None:
    sink.write_audit(PUSH)
    sink.authorise(ID, ATTESTATION)

    sink.write_audit({**PUSH, "error": True, "errorMessage": "no"})

    assert sink.get_push(ID) == {**PUSH, "error": True, "errorMessage": "no"}


def test_a_push_that_was_deleted_is_gone_and_may_come_again(sink: Sink) -> None:
    sink.write_audit(PUSH)
    sink.authorise(ID)

    sink.delete_push(ID)
    sink.delete_push(ID)

    assert sink.get_push(ID) is None
    assert sink.get_pushes({}) == []
    sink.write_audit(PUSH)
    assert sink.get_push(ID) == PUSH


def test_a_push_that_was_re_keyed_is_found_by_both_ids(sink: Sink, store: Store) -> None:
    new = "c" * 64
    sink.write_audit(PUSH)
    ask = {"id": ID, "new_id": new}
    commands.run(store, "push.rekey", ask, command_id="rekey", actor="a migration")

    sink.authorise(ID, ATTESTATION)

    assert sink.get_push(ID) == sink.get_push(new)
    decided = {"authorised": True, "attestation": ATTESTATION}
    assert sink.get_push(new) == {**PUSH, **decided, "id": new, "legacyId": ID}


# --- pushes: decisions --------------------------------------------------------------

DECISIONS: Final[dict[str, tuple[Callable[[Sink], Json], str, Json]]] = {
    "authorised": (
        lambda sink: sink.authorise(ID, ATTESTATION),
        f"authorised {ID}",
        {"attestation": ATTESTATION},
    ),
    "rejected": (lambda sink: sink.reject(ID, REJECTION), f"reject {ID}", {"rejection": REJECTION}),
    "canceled": (lambda sink: sink.cancel(ID), f"canceled {ID}", {}),
}


@pytest.mark.parametrize("before", [None, *FLAGS])
@pytest.mark.parametrize("decision", FLAGS)
def test_a_decision_sets_its_flag_and_payload_from_every_state_and_touches_nothing_else(
    sink: Sink, decision: str, before: str | None
) -> None:
    earlier = {flag: flag == before for flag in FLAGS}
    document = {**PUSH, **earlier, "error": True, "allowPush": True, "plugin": {"x": [None]}}
    sink.write_audit(document)
    decide, message, payload = DECISIONS[decision]

    said = decide(sink)

    assert said == {"message": message}
    assert sink.get_push(ID) == {
        **document,
        **{flag: flag == decision for flag in FLAGS},
        **payload,
    }


def test_a_decision_leaves_the_payloads_of_earlier_ones(sink: Sink) -> None:
    sink.write_audit(PUSH)

    sink.authorise(ID, ATTESTATION)
    sink.reject(ID, REJECTION)
    sink.cancel(ID)

    payloads = {"attestation": ATTESTATION, "rejection": REJECTION}
    assert sink.get_push(ID) == {**PUSH, **payloads, "canceled": True}


def test_an_approval_without_attestation_removes_an_older_one(sink: Sink) -> None:
    sink.write_audit(PUSH)
    sink.authorise(ID, ATTESTATION)

    sink.authorise(ID)

    assert sink.get_push(ID) == {**PUSH, "authorised": True}


@pytest.mark.parametrize("decision", FLAGS)
def test_a_decision_about_an_unknown_push_is_an_error(sink: Sink, decision: str) -> None:
    with pytest.raises(UnknownPush, match=f"^push {ID} not found$"):
        DECISIONS[decision][0](sink)


def test_of_two_decisions_at_once_both_are_kept(sink: Sink, store: Store) -> None:
    ids = [f"push-{n}" for n in range(8)]
    for id in ids:
        sink.write_audit({**PUSH, "id": id})
    line_up = Barrier(2, timeout=60)

    def review(decide: Callable[[str], Json]) -> None:
        for id in ids:
            line_up.wait()
            decide(id)

    reviewers: list[Callable[[str], Json]] = [
        lambda id: sink.authorise(id, ATTESTATION),
        lambda id: sink.reject(id, REJECTION),
    ]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(review, reviewers))

    for id in ids:
        stored = sink.get_push(id) or {}
        assert (stored["attestation"], stored["rejection"]) == (ATTESTATION, REJECTION)
        assert stored["authorised"] is not stored["rejected"]
        assert len(store.history(f"push-{id}")) == 3


def test_a_reviewer_who_saw_an_older_version_is_refused(sink: Sink, store: Store) -> None:
    sink.write_audit(PUSH)
    sink.authorise(ID, ATTESTATION)

    with pytest.raises(Conflict):
        commands.run(
            store,
            "push.reject",
            {"id": ID, "rejection": REJECTION},
            command_id="late",
            actor="dan",
            expected=1,
        )


def test_a_decision_that_is_tried_again_is_made_once(sink: Sink, store: Store) -> None:
    sink.write_audit(PUSH, command_id="audit")
    sink.write_audit(PUSH, command_id="audit")

    said = [sink.authorise(ID, ATTESTATION, command_id="click") for _ in range(2)]

    assert said == [{"message": f"authorised {ID}"}] * 2
    assert len(store.history(f"push-{ID}")) == 2


# --- pushes: listings -----------------------------------------------------------------


def test_without_a_query_those_are_listed_that_wait_for_a_review(sink: Sink) -> None:
    sink.write_audit({**PUSH, "id": "waits"})
    for name, value in {
        "error": True,
        "blocked": False,
        "allowPush": True,
        "authorised": True,
        "type": "default",
    }.items():
        sink.write_audit({**PUSH, "id": name, name: value})

    assert ids(sink.get_pushes()) == ["waits"]
    assert len(sink.get_pushes({})) == 6


def test_newest_pushes_come_first_then_by_id_and_those_without_a_time_last(sink: Sink) -> None:
    times = {"b": 5, "a": 5, "old": 1, "new": 9, "half": 5.5, "none": None}
    for id, time in times.items():
        sink.write_audit({**PUSH, "id": id, "timestamp": time})
    absent = {name: value for name, value in PUSH.items() if name != "timestamp"}
    sink.write_audit({**absent, "id": "absent"})

    assert ids(sink.get_pushes({})) == ["new", "half", "a", "b", "old", "absent", "none"]


@pytest.mark.parametrize("decision", FLAGS)
def test_a_listing_filters_by_each_flag(sink: Sink, decision: str) -> None:
    sink.write_audit(PUSH)
    sink.write_audit({**PUSH, "id": "another"})

    DECISIONS[decision][0](sink)

    assert ids(sink.get_pushes({decision: True})) == [ID]
    assert ids(sink.get_pushes({decision: False})) == ["another"]


def test_a_key_that_no_column_holds_filters_too(sink: Sink) -> None:
    sink.write_audit({**PUSH, "id": "one", "pluginRisk": {"level": 7}})
    sink.write_audit({**PUSH, "id": "two", "pluginRisk": {"level": 8}})

    assert ids(sink.get_pushes({"pluginRisk": {"level": 7}})) == ["one"]
    assert sink.get_pushes({"nobody": "has it"}) == []
    assert sink.get_pushes({"type": "push", "nobody": None}) == []


def test_a_summary_has_tags_user_and_decisions_but_no_unknown_key(sink: Sink) -> None:
    tagged = {"tags": ["v1"], "tagData": [{"type": "commit", "tagName": "v1"}], "actionType": "tag"}
    sink.write_audit({**PUSH, **tagged, "pluginRisk": 7, "lastStep": {"id": "x"}})

    [listed] = sink.get_pushes()

    shown = {name: value for name, value in PUSH.items() if name != "steps"}
    assert listed == {**shown, **tagged}


def test_rows_of_type_default_are_kept_apart(sink: Sink) -> None:
    sink.create_repo({**REPO, "_id": "r"})
    sink.write_audit({**PUSH, "id": "1744380903338", "type": "default"})

    assert sink.get_pushes() == sink.get_pushes({"type": "push"}) == []
    assert ids(sink.get_pushes({"type": "default"})) == ["1744380903338"]
    assert sink.get_push("1744380903338") is not None
    [listed] = sink.get_repos()
    assert set(listed["activity"].values()) == {0}
    assert "latestPushAtMs" not in listed


def test_a_profile_shows_what_somebody_made_or_reviewed(sink: Sink) -> None:
    sink.write_audit({**PUSH, "id": "made", "timestamp": 1})
    sink.write_audit({**PUSH, "id": "reviewed", "timestamp": 2, "userEmail": "x@y.z"})
    sink.authorise("reviewed", {"reviewer": {"username": "BOB"}})
    sink.write_audit({**PUSH, "id": "neither", "userEmail": "x@y.z"})
    sink.write_audit({**PUSH, "id": "no push", "type": "default"})

    assert ids(sink.get_pushes_for_user_profile(["bob@EXAMPLE.com"], "bob")) == ["reviewed", "made"]


def test_roles_say_who_may_cancel_and_who_may_approve(sink: Sink) -> None:
    id = sink.create_repo(REPO)["_id"]
    sink.write_audit(PUSH)
    asked = [sink.can_user_cancel_push, sink.can_user_approve_reject_push]

    def may() -> list[bool]:
        return [ask(ID, "Bob") for ask in asked]

    assert may() == [False, False]
    sink.add_user_can_push(id, "bob")
    assert may() == [True, False]
    sink.remove_user_can_push(id, "bob")
    assert may() == [False, False]
    sink.add_user_can_authorise(id, "BOB")
    assert may() == [True, True]
    sink.remove_user_can_authorise(id, "Bob")
    assert may() == [False, False]
    assert [ask("no such push", "bob") for ask in asked] == [False, False]


def test_nobody_may_do_anything_with_a_push_to_an_unknown_repository(sink: Sink) -> None:
    sink.write_audit(PUSH)
    sink.write_audit({"id": "no url", "type": "push"})

    assert not sink.can_user_cancel_push(ID, "bob")
    assert not sink.can_user_cancel_push("no url", "bob")


# --- repositories -----------------------------------------------------------------


def test_a_repository_is_created_with_dates_and_empty_lists(sink: Sink) -> None:
    created = sink.create_repo({**REPO, "name": "Demo"})

    assert created == sink.get_repo_by_id(created["_id"])
    assert created.pop("_id")
    assert created.pop("dateCreated") == created.pop("lastModified")
    assert created == {**REPO, "users": {"canPush": [], "canAuthorise": []}}


def test_a_repository_is_found_by_name_in_any_case_and_by_its_exact_url(sink: Sink) -> None:
    created = sink.create_repo({**REPO, "name": "my.github.io"})

    assert sink.get_repo("My.GitHub.io") == created
    assert sink.get_repo_by_url(URL) == created
    assert sink.get_repo_by_url(URL.upper()) is None
    assert sink.get_repo("demo") is None


@pytest.mark.parametrize("id", MALFORMED)
def test_a_malformed_or_foreign_id_finds_no_repository_and_changes_none(
    sink: Sink, id: str
) -> None:
    sink.create_repo({**REPO, "_id": "CLtHh2oEkup1xSOR"})

    assert sink.get_repo_by_id(id) is None
    sink.update_repo({"_id": id, "name": "x"})
    sink.delete_repo(id)

    assert len(sink.get_repos()) == 1


@pytest.mark.parametrize("id", ["CLtHh2oEkup1xSOR", "66b1f0a2c3d4e5f601234567", "ü/ö %"])
def test_ids_are_kept_as_they_came(sink: Sink, id: str) -> None:
    sink.create_repo({**REPO, "_id": id})
    sink.create_user({**USER, "_id": id})

    assert (sink.get_repo_by_id(id) or {})["_id"] == id
    assert (sink.find_user("alice") or {})["_id"] == id
    assert [each["_id"] for each in (*sink.get_repos(), *sink.get_users())] == [id, id]


@pytest.mark.parametrize("project", [None, "", ...])
def test_a_blank_project_is_an_empty_text(sink: Sink, project: object) -> None:
    fields = {"project": project} if project is not ... else {}

    created = sink.create_repo({"name": "demo", "url": URL, **fields})

    assert created["project"] == ""


@pytest.mark.parametrize("field", ["name", "url"])
@pytest.mark.parametrize("blank", ["", "  ", None])
def test_a_repository_without_name_or_url_is_refused(
    sink: Sink, field: str, blank: str | None
) -> None:
    with pytest.raises(EmptyRepoField):
        sink.create_repo({**REPO, field: blank})

    assert sink.get_repos() == []


def test_two_repositories_may_share_a_name_but_no_url(sink: Sink) -> None:
    sink.create_repo(REPO)
    sink.create_repo({**REPO, "url": "https://gitlab.com/finos/demo.git"})

    with pytest.raises(Claimed):
        sink.create_repo({**REPO, "name": "other"})

    assert len(sink.get_repos({"name": "DEMO"})) == 2


def test_repositories_are_filtered_by_any_field(sink: Sink) -> None:
    sink.create_repo(REPO)
    sink.create_repo({"name": "two", "url": "https://x.y/two.git", "plugin": {"a": 1}})

    assert [each["name"] for each in sink.get_repos({"project": "finos"})] == ["demo"]
    assert [each["name"] for each in sink.get_repos({"plugin": {"a": 1}})] == ["two"]
    assert sink.get_repos({"unknown": "x"}) == []


def test_a_repository_is_created_with_its_users_at_once(sink: Sink, store: Store) -> None:
    users = {"canPush": ["Bob", "alice", "bob"], "canAuthorise": ["Carol"]}

    created = sink.create_repo({**REPO, "users": users}, command_id="create")
    again = sink.create_repo({**REPO, "users": users}, command_id="create")

    assert created == again
    assert created["users"] == {"canPush": ["bob", "alice"], "canAuthorise": ["carol"]}
    commands_of = {each.command_id for each in store.log.page(0, 0, 100)}
    assert commands_of == {"create"}


def test_a_repository_with_a_role_that_there_is_not_is_not_half_created(sink: Sink) -> None:
    with pytest.raises(BadInput):
        sink.create_repo({**REPO, "users": {"canPush": ["bob"], "canMerge": ["bob"]}})

    assert sink.get_repos() == []


def test_fields_of_a_repository_are_set_and_go(sink: Sink) -> None:
    created = sink.create_repo({**REPO, "plugin": 7})

    sink.update_repo({"_id": created["_id"], "project": "x", "new": [1]}, unset=["plugin"])

    changed = sink.get_repo_by_id(created["_id"]) or {}
    assert (changed["project"], changed["new"], changed["name"]) == ("x", [1], "demo")
    assert "plugin" not in changed


def test_an_update_replaces_the_users_that_it_names(sink: Sink) -> None:
    users = {"canPush": ["a", "b", "c"], "canAuthorise": ["x"]}
    id = sink.create_repo({**REPO, "users": users})["_id"]

    sink.update_repo({"_id": id, "users": {"canPush": ["a", "c", "d"]}})

    found = sink.get_repo_by_id(id) or {}
    assert found["users"] == {"canPush": ["a", "c", "d"], "canAuthorise": ["x"]}
    sink.update_repo({"_id": id, "users": {"canPush": []}})
    assert (sink.get_repo_by_id(id) or {})["users"]["canPush"] == []


def test_an_update_of_nothing_changes_nothing(sink: Sink, store: Store) -> None:
    id = sink.create_repo(REPO)["_id"]
    before = store.log.heads()[0].position

    sink.update_repo({"_id": id})
    sink.update_repo({"_id": "unknown", "name": "x"})
    with pytest.raises(BadInput):
        sink.update_repo({"name": "x"})

    assert store.log.heads()[0].position == before


def test_a_url_that_another_repository_has_is_refused(sink: Sink) -> None:
    sink.create_repo(REPO)
    other = sink.create_repo({**REPO, "url": "https://x.y/z.git"})

    with pytest.raises(Claimed):
        sink.update_repo({"_id": other["_id"], "url": URL})

    assert sink.get_repo_by_id(other["_id"]) == other


ROLES: Final = {
    "canPush": (Sink.add_user_can_push, Sink.remove_user_can_push),
    "canAuthorise": (Sink.add_user_can_authorise, Sink.remove_user_can_authorise),
}


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_given_and_taken_once_in_any_case(sink: Sink, role: str) -> None:
    add, remove = ROLES[role]
    id = sink.create_repo(REPO)["_id"]

    def having() -> list[str]:
        names: list[str] = (sink.get_repo_by_id(id) or {})["users"][role]
        assert sink.get_repos()[0]["users"][role] == names
        return names

    for name in ("zoe", "Bob", "BOB", "bob"):
        add(sink, id, name)
    assert having() == ["zoe", "bob"]
    for name in ("ZOE", "zoe", "nobody"):
        remove(sink, id, name)
    assert having() == ["bob"]


@pytest.mark.parametrize("role", ROLES)
def test_the_last_one_of_a_role_leaves_an_empty_list(sink: Sink, role: str) -> None:
    add, remove = ROLES[role]
    id = sink.create_repo(REPO)["_id"]
    add(sink, id, "bob")

    remove(sink, id, "bob")

    empty: Json = {"canPush": [], "canAuthorise": []}
    found = [sink.get_repo("demo"), sink.get_repo_by_id(id), sink.get_repo_by_url(URL)]
    assert [(each or {})["users"] for each in (*found, *sink.get_repos())] == [empty] * 4


@pytest.mark.parametrize("change", [each for pair in ROLES.values() for each in pair])
def test_a_role_in_an_unknown_repository_is_refused(
    sink: Sink, change: Callable[[Sink, str, str], None]
) -> None:
    with pytest.raises(UnknownRepo, match=r"^Repo not found"):
        change(sink, "unknown", "bob")


def test_a_change_of_roles_is_a_modification(sink: Sink) -> None:
    old = "2020-01-01T00:00:00.000Z"
    created = sink.create_repo({**REPO, "dateCreated": old, "lastModified": old})

    sink.add_user_can_push(created["_id"], "bob")

    found = sink.get_repo_by_id(created["_id"]) or {}
    assert found["dateCreated"] == old
    assert found["lastModified"] > old


@pytest.mark.parametrize("role", ROLES)
def test_to_remove_who_is_not_there_is_a_modification_too(sink: Sink, role: str) -> None:
    old = "2020-01-01T00:00:00.000Z"
    created = sink.create_repo({**REPO, "dateCreated": old, "lastModified": old})

    ROLES[role][1](sink, created["_id"], "nobody")

    found = sink.get_repo_by_id(created["_id"]) or {}
    assert found["dateCreated"] == old
    assert found["lastModified"] > old
    assert {**found, "lastModified": old} == created
    [listed] = sink.get_repos()
    assert listed["lastModified"] == found["lastModified"]


def test_a_repository_that_was_deleted_is_gone_and_its_url_free(sink: Sink) -> None:
    id = sink.create_repo(REPO)["_id"]

    sink.delete_repo(id)
    sink.delete_repo(id)

    assert sink.get_repo_by_id(id) is sink.get_repo_by_url(URL) is None
    assert sink.get_repos() == []
    assert sink.create_repo(REPO)["_id"] != id


def test_who_may_push_is_who_has_any_role_there(sink: Sink) -> None:
    id = sink.create_repo(REPO)["_id"]
    sink.add_user_can_push(id, "bob")
    sink.add_user_can_authorise(id, "carol")

    assert [sink.is_user_push_allowed(URL, name) for name in ("BOB", "carol", "dan")] == [
        True,
        True,
        False,
    ]
    assert not sink.is_user_push_allowed("https://x.y/unknown.git", "bob")


def test_activity_follows_decisions_and_deletions(sink: Sink) -> None:
    sink.create_repo(REPO)
    none = dict.fromkeys(["pending", "approved", "canceled", "rejected", "error"], 0)

    def activity() -> Json:
        [listed] = sink.get_repos()
        counts: Json = listed["activity"]
        return counts

    sink.write_audit(PUSH)
    sink.write_audit({**PUSH, "id": "e", "error": True, "timestamp": None})
    sink.write_audit({**PUSH, "id": "ssh", "url": "git@GitHub.com:finos/Demo", "timestamp": 7})
    assert activity() == {**none, "pending": 2, "error": 1}
    assert sink.get_repos()[0]["latestPendingReviewAtMs"] == PUSH["timestamp"]
    sink.authorise(ID)
    assert activity() == {**none, "pending": 1, "approved": 1, "error": 1}
    sink.reject(ID, REJECTION)
    sink.delete_push("e")
    assert activity() == {**none, "pending": 1, "rejected": 1}
    assert sink.get_repos()[0]["latestPendingReviewAtMs"] == 7


# --- users ------------------------------------------------------------------------


def test_a_user_has_exactly_the_fields_that_were_stored(sink: Sink) -> None:
    created = sink.create_user({**USER, "title": "Dr", "mustChangePassword": True})

    assert created.pop("_id")
    assert created == {
        "username": "alice",
        "gitAccount": "Alice-GH",
        "email": "alice@example.com",
        "admin": False,
        "publicKeys": [],
        "title": "Dr",
        "mustChangePassword": True,
    }


def test_a_user_is_found_by_each_of_their_names_in_any_case(sink: Sink) -> None:
    created = sink.create_user({**USER, "oidcId": "Sub|1", "publicKeys": [KEY]})

    assert sink.find_user("ALICE") == created
    assert sink.find_user_by_email("ALICE@example.COM") == created
    assert sink.find_user_by_git_account("alice-gh") == created
    assert sink.find_user_by_oidc("Sub|1") == created
    assert sink.find_user_by_oidc("sub|1") is None
    assert sink.find_user_by_ssh_key(KEY["key"]) == created
    assert sink.find_user_by_ssh_key(KEY["fingerprint"]) == created


@pytest.mark.parametrize("name", MALFORMED)
def test_a_name_that_nobody_has_finds_nobody(sink: Sink, name: str) -> None:
    sink.create_user({**USER, "oidcId": ""})

    for find in (
        sink.find_user,
        sink.find_user_by_email,
        sink.find_user_by_oidc,
        sink.find_user_by_git_account,
        sink.find_user_by_ssh_key,
    ):
        assert find(name) is None
    sink.delete_user(name)
    assert len(sink.get_users()) == 1


@pytest.mark.parametrize("field", ["username", "gitAccount", "email"])
@pytest.mark.parametrize("blank", ["", " ", None])
def test_a_user_without_name_account_or_address_is_not_created(
    sink: Sink, field: str, blank: str | None
) -> None:
    with pytest.raises(EmptyField, match=f"^{field} cannot be empty$"):
        sink.create_user({**USER, field: blank})

    assert sink.get_users() == []


def test_a_name_is_taken_once_in_any_case(sink: Sink) -> None:
    sink.create_user(USER)

    with pytest.raises(UserExists, match=r"^user alice already exists$"):
        sink.create_user({**USER, "username": "ALICE", "email": "other@example.com"})


@pytest.mark.parametrize("same", [{}, {"_id": "own"}, {"publicKeys": [KEY], "oidcId": "sub"}])
def test_of_all_that_is_taken_the_name_is_told_first(sink: Sink, same: Json) -> None:
    sink.create_user({**USER, **same})

    for document in ({**USER, **same}, {**USER, **same, "username": "ALICE"}):
        with pytest.raises(UserExists, match=r"^user alice already exists$"):
            sink.create_user(document)
    with pytest.raises(UserExists, match=r"^A user with email alice@example.com already exists$"):
        sink.create_user({**USER, **same, "_id": "other", "username": "bob"})


def test_nobody_has_a_role_that_is_null(sink: Sink) -> None:
    id = sink.create_repo({**REPO, "users": {"canPush": None, "canAuthorise": ["bob"]}})["_id"]
    assert (sink.get_repo_by_id(id) or {})["users"] == {"canPush": [], "canAuthorise": ["bob"]}

    sink.update_repo({"_id": id, "users": {"canAuthorise": None}})

    assert (sink.get_repo_by_id(id) or {})["users"] == {"canPush": [], "canAuthorise": []}


def test_an_address_is_taken_once_in_any_case(sink: Sink) -> None:
    sink.create_user(USER)

    with pytest.raises(UserExists, match=r"^A user with email alice@example.com already exists$"):
        sink.create_user({**USER, "username": "bob", "email": "ALICE@example.com"})


def test_an_oidc_id_is_kept_and_taken_once_and_an_empty_one_is_none(sink: Sink) -> None:
    bob = {**USER, "username": "bob", "email": "bob@x.y", "password": None}
    sink.create_user({**USER, "oidcId": "sub"})

    with pytest.raises(UserExists):
        sink.create_user({**bob, "oidcId": "sub"})

    for name in ("bob", "carol"):
        sink.create_user({**bob, "username": name, "email": f"{name}@x.y", "oidcId": ""})
    assert [each["oidcId"] for each in sink.get_users()] == ["sub", None, None]


def test_any_number_of_users_has_no_address(sink: Sink) -> None:
    for name in ("a", "b"):
        sink.update_user({"username": name, "email": None})
    sink.update_user({"username": "c"})

    assert [each["username"] for each in sink.get_users()] == ["a", "b", "c"]


def test_a_password_is_in_no_document_and_only_tells_whether_it_is_right(sink: Sink) -> None:
    hash = hash_password("correct horse")
    sink.create_user({**USER, "password": hash})

    found = [sink.find_user("alice"), sink.find_user_by_email(USER["email"]), *sink.get_users()]

    assert all(each is not None and "password" not in each for each in found)
    assert hash not in json.dumps(found)
    assert sink.verify_password("ALICE", "correct horse")
    assert not sink.verify_password("alice", "wrong")
    assert not sink.verify_password("nobody", "correct horse")


@pytest.mark.parametrize(
    ("fields", "unset"), [({"password": None}, ()), ({}, ("password", "title"))]
)
def test_a_password_is_replaced_by_an_update_and_goes_when_it_is_null(
    sink: Sink, fields: dict[str, None], unset: tuple[str, ...]
) -> None:
    sink.create_user({**USER, "password": hash_password("old")})

    sink.update_user({"username": "alice", "password": hash_password("new")})
    assert [sink.verify_password("alice", each) for each in ("old", "new")] == [False, True]
    sink.update_user({"username": "alice", "title": "Dr"})
    assert sink.verify_password("alice", "new")
    sink.update_user({"username": "alice", **fields}, unset=unset)

    assert not sink.verify_password("alice", "new")


def test_users_are_filtered_by_name_and_address_in_any_case_and_any_field(sink: Sink) -> None:
    sink.create_user({**USER, "title": "Dr"})
    sink.update_user({"username": "bob", "admin": True})

    def names(**query: object) -> list[str]:
        return [each["username"] for each in sink.get_users(query)]

    assert names(username="ALICE") == names(email="ALICE@EXAMPLE.COM") == ["alice"]
    assert names(admin=True) == ["bob"]
    assert names(title="Dr") == ["alice"]
    assert names(unknown="x") == []
    assert names(publicKeys=[]) == ["alice", "bob"]
    sink.add_public_key("bob", KEY)
    assert names(publicKeys=[]) == ["alice"]
    assert names(publicKeys=[KEY]) == ["bob"]
    assert names(password=HASH) == names(password=None) == []
    assert names() == ["alice", "bob"]


def test_an_update_merges_by_name(sink: Sink) -> None:
    created = sink.create_user(USER)

    sink.update_user({"username": "ALICE", "admin": True, "title": "Dr"})

    assert sink.find_user("alice") == {**created, "admin": True, "title": "Dr"}


def test_an_update_by_id_renames(sink: Sink) -> None:
    created = sink.create_user(USER)

    sink.update_user({"_id": created["_id"], "username": "Alicia"}, unset=["gitAccount"])

    assert sink.find_user("alice") is None
    renamed = sink.find_user("alicia") or {}
    assert renamed["_id"] == created["_id"]
    assert "gitAccount" not in renamed
    assert len(sink.get_users()) == 1


def test_an_update_to_a_name_of_another_is_refused(sink: Sink) -> None:
    sink.create_user(USER)
    bob = sink.create_user({**USER, "username": "bob", "email": "bob@x.y"})

    with pytest.raises(UserExists, match=r"^user alice already exists$"):
        sink.update_user({"_id": bob["_id"], "username": "Alice"})
    with pytest.raises(UserExists, match=r"^A user with email alice@example.com"):
        sink.update_user({"username": "bob", "email": "Alice@example.com"})

    assert sink.find_user("bob") == bob


def test_an_update_of_somebody_unknown_creates_them(sink: Sink) -> None:
    sink.update_user({"username": "New", "email": "new@x.y", "publicKeys": [KEY]})

    created = sink.find_user("new") or {}
    assert (created["email"], created["publicKeys"]) == ("new@x.y", [KEY])


def test_an_update_that_names_nobody_is_refused(sink: Sink) -> None:
    with pytest.raises(UnknownUser):
        sink.update_user({"email": "ghost@x.y"})

    assert sink.get_users() == []


def test_an_update_replaces_the_keys_that_it_names(sink: Sink) -> None:
    sink.create_user({**USER, "publicKeys": [KEY]})

    sink.update_user({"username": "alice", "publicKeys": [OTHER_KEY, {**KEY, "name": "new"}]})
    assert sink.get_public_keys("alice") == [OTHER_KEY, {**KEY, "name": "new"}]
    sink.update_user({"username": "alice", "admin": True})
    assert len(sink.get_public_keys("alice")) == 2
    sink.update_user({"username": "alice", "publicKeys": []})

    assert sink.get_public_keys("alice") == []


def test_a_user_that_cannot_have_all_keys_is_not_half_created(sink: Sink) -> None:
    sink.create_user({**USER, "publicKeys": [KEY]})

    with pytest.raises(DuplicateSSHKeyError, match=r"by user 'alice'$"):
        sink.update_user({"username": "bob", "publicKeys": [OTHER_KEY, KEY]})

    assert sink.find_user("bob") is None
    assert sink.find_user_by_ssh_key(OTHER_KEY["key"]) is None


def test_a_creation_that_is_tried_again_gives_the_same_user(sink: Sink) -> None:
    user = {**USER, "publicKeys": [KEY]}

    assert sink.create_user(user, command_id="c") == sink.create_user(user, command_id="c")
    assert len(sink.get_users()) == 1


def test_a_user_who_was_deleted_is_gone_and_the_name_free(sink: Sink) -> None:
    sink.create_user({**USER, "publicKeys": [KEY]})

    sink.delete_user("ALICE")
    sink.delete_user("alice")

    assert sink.find_user("alice") is sink.find_user_by_ssh_key(KEY["key"]) is None
    assert sink.get_users() == []
    sink.create_user({**USER, "publicKeys": [KEY]})


def test_keys_are_added_and_removed_by_fingerprint_in_their_order(sink: Sink) -> None:
    sink.create_user({name: USER[name] for name in USER if name != "publicKeys"})
    assert sink.get_public_keys("alice") == []

    sink.add_public_key("Alice", KEY)
    sink.add_public_key("alice", OTHER_KEY)
    assert sink.get_public_keys("ALICE") == [KEY, OTHER_KEY]
    sink.remove_public_key("alice", KEY["fingerprint"])
    sink.remove_public_key("alice", "SHA256:unknown")

    assert sink.get_public_keys("alice") == sink.get_users()[0]["publicKeys"] == [OTHER_KEY]


@pytest.mark.parametrize("again", [KEY, {**OTHER_KEY, "fingerprint": KEY["fingerprint"]}])
def test_a_key_that_the_user_has_already_is_refused(sink: Sink, again: Json) -> None:
    sink.create_user({**USER, "publicKeys": [KEY]})

    with pytest.raises(KnownKey, match=r"^SSH key already exists$"):
        sink.add_public_key("alice", again)


@pytest.mark.parametrize("again", [KEY, {**OTHER_KEY, "fingerprint": KEY["fingerprint"]}])
def test_a_key_of_another_user_is_refused_with_their_name(sink: Sink, again: Json) -> None:
    sink.create_user({**USER, "publicKeys": [KEY]})
    sink.update_user({"username": "bob"})

    with pytest.raises(
        DuplicateSSHKeyError, match=r"^SSH key already in use by user 'alice'$"
    ) as refusal:
        sink.add_public_key("bob", again)

    assert type(refusal.value).__name__ == "DuplicateSSHKeyError"
    assert sink.get_public_keys("bob") == []


def test_keys_of_nobody_are_an_error(sink: Sink) -> None:
    for ask in (
        lambda: sink.add_public_key("nobody", KEY),
        lambda: sink.remove_public_key("nobody", "SHA256:x"),
        lambda: sink.get_public_keys("nobody"),
    ):
        with pytest.raises(UnknownUser, match=r"^User not found$"):
            ask()


@pytest.mark.parametrize("record", [{}, {"key": 5}, {"name": "x"}])
def test_a_key_without_its_text_is_refused(sink: Sink, record: Json) -> None:
    sink.create_user(USER)

    with pytest.raises((NotAProfile, Refused)):
        sink.add_public_key("alice", record)


# --- migrations -------------------------------------------------------------------


def test_migrations_are_recorded_once_and_listed_in_the_order_of_their_ids(sink: Sink) -> None:
    later, earlier = "20260914-refactor-legacy-push-ids", "20260729-populate-repo-dates"

    for id in (later, earlier, later):
        sink.record_migration(id)

    assert sink.get_applied_migrations() == [earlier, later]


def test_a_migration_that_was_taken_back_may_be_run_again(sink: Sink) -> None:
    sink.record_migration("a")

    sink.unrecord_migration("a")
    sink.unrecord_migration("a")
    sink.unrecord_migration("never run")
    assert sink.get_applied_migrations() == []
    sink.record_migration("a")

    assert sink.get_applied_migrations() == ["a"]


def test_the_time_of_creation_is_in_mongos_ids_alone(sink: Sink) -> None:
    made_here = sink.create_repo(REPO)["_id"]

    assert sink.derive_created_at("66b1f0a2c3d4e5f601234567") == "2024-08-06T09:45:06Z"
    assert [sink.derive_created_at(id) for id in ("CLtHh2oEkup1xSOR", made_here, "")] == [None] * 3


# --- elsewhere ----------------------------------------------------------------------


def test_all_of_it_is_there_after_a_copy_to_another_engine(
    sink: Sink, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFOLD_VAULT_KEY")  # a SQLite store takes over the key of its source
    sink.create_user({**USER, "_id": "u", "publicKeys": [KEY]})
    sink.create_repo({**REPO, "_id": "r", "users": {"canPush": ["alice"]}})
    sink.write_audit({**PUSH, "steps": [{"content": "+" * 100_000}]})
    sink.reject(ID, REJECTION)
    sink.record_migration("a")

    with open_store(f"sqlite:///{tmp_path}/copy.db", create=True) as target:
        assert copy(store, target).equal
        there = Sink(target)

        assert everything(there) == everything(sink)


def everything(sink: Sink) -> list[object]:
    asked = [sink.get_users(), sink.get_repos(), sink.get_pushes({}), sink.get_push(ID)]
    return [*asked, sink.get_applied_migrations(), sink.find_user_by_ssh_key(KEY["key"])]


def ids(listed: list[Json]) -> list[str]:
    return [each["id"] for each in listed]
