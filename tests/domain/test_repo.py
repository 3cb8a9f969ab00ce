"""What may happen to a repository, what its record is afterwards, and what is refused."""

from collections.abc import Callable
from typing import Any, Literal

import pytest

from refold.domain.errors import BadInput
from refold.domain.repo import (
    LONGEST_TEXT,
    AccessGranted,
    AccessRevoked,
    AlreadyRegistered,
    Changed,
    EmptyField,
    Event,
    Imported,
    Registered,
    Removed,
    Repo,
    ReservedField,
    UnknownRepo,
    after,
    change,
    grant,
    import_record,
    register,
    remove,
    revoke,
    view,
)
from refold.domain.texts import IllFormedText

ID, URL = "SxkJ3Vwozv4n5SfL", "https://github.com/Finos/Demo.git"
THEN, NOW = "2026-08-01T10:00:00.000Z", "2026-08-02T10:00:00.125Z"
DEMO = {"project": "finos", "name": "demo", "url": URL}
DATES = {"dateCreated": THEN, "lastModified": THEN}
REGISTERED = Registered(ID, DEMO | DATES)

# --- records ----------------------------------------------------------------------


def test_a_new_repository_is_kept_with_its_dates_and_its_name_in_lower_case() -> None:
    [registered] = register(Repo(), ID, DEMO | {"name": "DEMO", "odd": [{"x": None}]}, THEN)

    assert registered == Registered(ID, DEMO | DATES | {"odd": [{"x": None}]})
    assert after(registered) == Repo(True, ID, URL)


def test_dates_that_are_given_are_kept() -> None:
    given: dict[str, object] = {"dateCreated": "2020-01-01T00:00:00.000Z", "lastModified": None}

    [registered] = register(Repo(), ID, DEMO | given, THEN)

    assert view([registered]) == DEMO | given | {"lastModified": THEN}


@pytest.mark.parametrize("project", [{"project": None}, {"project": ""}, {}])
def test_a_repository_without_a_project_shows_an_empty_one(project: dict[str, object]) -> None:
    document = {"name": "demo", "url": URL, **project}

    [registered] = register(Repo(), ID, document, THEN)

    assert registered == Registered(ID, document | DATES)
    assert view([registered]) == {**document, **DATES, "project": ""}


BLANK = ["", "  \t\n", None, 7, ["x"]]


@pytest.mark.parametrize("value", BLANK)
@pytest.mark.parametrize(("field", "what"), [("name", "Repository name"), ("url", "URL")])
def test_a_blank_name_or_url_is_refused(field: str, what: str, value: object) -> None:
    without = {name: text for name, text in DEMO.items() if name != field}

    with pytest.raises(EmptyField, match=f"^{what} cannot be empty"):
        register(Repo(), ID, DEMO | {field: value}, THEN)
    with pytest.raises(EmptyField, match=f"^{what} cannot be empty"):
        register(Repo(), ID, without, THEN)
    with pytest.raises(EmptyField, match=f"^{what} cannot be empty"):
        change(after(REGISTERED), {field: value})
    with pytest.raises(EmptyField, match=f"^{what} cannot be empty"):
        change(after(REGISTERED), {}, [field])


def test_a_url_is_kept_to_the_letter() -> None:
    odd = " HTTPS://User@Host:8443/A B/x.GIT/ "

    [registered] = register(Repo(), ID, DEMO | {"url": odd}, THEN)

    assert after(registered).url == odd


def test_a_name_may_hold_what_ends_urls() -> None:
    [registered] = register(Repo(), ID, DEMO | {"name": "null.git-Inside"}, THEN)

    assert view([registered]) == DEMO | DATES | {"name": "null.git-inside"}


def test_a_repository_is_registered_once_until_it_is_removed() -> None:
    with pytest.raises(AlreadyRegistered, match=f"^repo {ID} is already registered$"):
        register(after(REGISTERED), ID, DEMO, NOW)

    assert register(after(REGISTERED, Removed((), ())), ID, DEMO, THEN) == [REGISTERED]


def test_a_change_merges() -> None:
    history: list[Event] = [Registered(ID, {**DEMO, **DATES, "odd": 1, "gone": 2, "both": 3})]

    changed = change(after(*history), {"name": "New", "odd": None, "both": 4}, ["gone", "both"])

    assert changed == [Changed({"name": "new", "odd": None, "both": 4}, ("both", "gone"))]
    assert view([*history, *changed]) == {
        **DEMO, **DATES, "name": "new", "odd": None, "both": 4,
    }  # fmt: skip
    assert after(*history, *changed) == after(*history)


def test_a_change_may_move_a_repository_elsewhere() -> None:
    moved = change(after(REGISTERED), {"url": "https://other/demo.git"})

    assert after(REGISTERED, *moved) == Repo(True, ID, "https://other/demo.git")


def test_a_change_of_nothing_is_no_news() -> None:
    assert change(after(REGISTERED), {}) == []


@pytest.mark.parametrize("history", [[], [REGISTERED, Removed((), ())]])
def test_what_is_not_there_is_changed_and_removed_without_a_word(history: list[Event]) -> None:
    assert change(after(*history), {"project": "x"}, ["odd"]) == []
    assert remove(after(*history)) == []


@pytest.mark.parametrize("field", ["_id", "users"])
def test_id_and_users_are_no_fields_of_a_record(field: str) -> None:
    with pytest.raises(ReservedField, match=f"^field {field} of a repo is not set"):
        register(Repo(), ID, DEMO | {field: {}}, THEN)
    with pytest.raises(ReservedField, match=f"^field {field} of a repo is not set"):
        change(after(REGISTERED), {field: "x"})
    with pytest.raises(ReservedField, match=f"^field {field} of a repo is not set"):
        change(after(REGISTERED), {}, [field])
    assert issubclass(ReservedField, BadInput)


BAD_TEXTS = ["nul\0", "half \ud800", "é" * (LONGEST_TEXT // 2) + "x"]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_a_text_that_no_index_could_hold_is_refused(text: str) -> None:
    with pytest.raises(IllFormedText, match=r"^the url of a repo "):
        register(Repo(), ID, DEMO | {"url": text}, THEN)
    with pytest.raises(IllFormedText, match=r"^the url of a repo "):
        import_record(Repo(), ID, DEMO | {"url": text}, [], [])
    with pytest.raises(IllFormedText, match=r"^the username of a repo "):
        import_record(Repo(), ID, DEMO, [], [text])
    with pytest.raises(IllFormedText):
        register(Repo(), ID, DEMO | {"name": text}, THEN)
    with pytest.raises(IllFormedText):
        grant(after(REGISTERED), ID, "canPush", text, NOW)


@pytest.mark.parametrize("id", ["", "nul\0", "\ud800", "line\n", "x" * 257])
def test_an_id_that_no_table_could_hold_is_refused(id: str) -> None:
    with pytest.raises(IllFormedText, match=r"^repo id "):
        register(Repo(), id, DEMO, THEN)
    with pytest.raises(IllFormedText, match=r"^repo id "):
        import_record(Repo(), id, DEMO, [], [])


def test_a_refusal_shows_no_password_of_a_url() -> None:
    with pytest.raises(IllFormedText) as refusal:
        register(Repo(), ID, DEMO | {"url": "https://u:secret@h/\0"}, THEN)

    assert "secret" not in str(refusal.value)


# --- permissions ------------------------------------------------------------------

ROLES: list[Literal["canPush", "canAuthorise"]] = ["canPush", "canAuthorise"]


@pytest.mark.parametrize("role", ROLES)
def test_a_role_is_granted_once_whatever_the_case_of_the_name(
    role: Literal["canPush", "canAuthorise"],
) -> None:
    granted = grant(after(REGISTERED), ID, role, "Alice", NOW)

    assert granted == [AccessGranted(role, "alice", NOW)]
    history = [REGISTERED, *granted]
    for name in ("alice", "ALICE", "Alice"):
        assert grant(after(*history), ID, role, name, NOW) == []
    assert grant(after(*history), ID, role, " alice", NOW) != []
    assert after(*history).having(role) == ("alice",)
    assert [after(*history).having(other) for other in ROLES if other != role] == [()]
    assert revoke(after(*history), ID, role, "ALICE", NOW) == [AccessRevoked(role, "alice", NOW)]


def test_names_stand_in_the_order_of_grant() -> None:
    history: list[Event] = [REGISTERED]
    for name in ("zoe", "Ann", "max", "ann", "bo"):
        history += grant(after(*history), ID, "canPush", name, NOW)
    history += revoke(after(*history), ID, "canPush", "zoe", NOW)
    history += grant(after(*history), ID, "canPush", "zoe", NOW)

    assert after(*history) == Repo(True, ID, URL, ("ann", "max", "bo", "zoe"))


def test_the_last_one_to_lose_a_role_leaves_an_empty_list() -> None:
    history: list[Event] = [REGISTERED, AccessGranted("canPush", "ann", NOW)]

    revoked = revoke(after(*history), ID, "canPush", "ann", NOW)

    assert after(*history, *revoked) == Repo(True, ID, URL, (), ())


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", ["bo", "ANN ", "nul\0", "\ud800", ""])
def test_to_take_a_role_from_who_has_none_is_a_modification_and_names_nobody(
    role: Literal["canPush", "canAuthorise"], name: str
) -> None:
    known = after(REGISTERED, AccessGranted("canPush", "ann", NOW))

    modified = revoke(known, ID, role, name, NOW)

    assert modified == [Changed({"lastModified": NOW}, ())]
    assert after(REGISTERED, AccessGranted("canPush", "ann", NOW), *modified) == known


@pytest.mark.parametrize("dates", [DATES, {}])
@pytest.mark.parametrize("event", [AccessGranted, AccessRevoked])
def test_a_change_of_permissions_is_a_modification_also_of_a_record_without_dates(
    event: Callable[[str, str, str], Event], dates: dict[str, object]
) -> None:
    imported = Imported(ID, DEMO | dates, (), (), (), ())

    assert view([imported, event("canPush", "ann", NOW)]) == {
        **DEMO, **dates, "lastModified": NOW,
    }  # fmt: skip


@pytest.mark.parametrize("history", [[], [REGISTERED, Removed((), ())]])
@pytest.mark.parametrize("decide", [grant, revoke])
def test_a_role_for_an_unknown_repository_is_refused(
    decide: Callable[..., list[Event]], history: list[Event]
) -> None:
    with pytest.raises(UnknownRepo, match=f"^Repo not found: there is none with id {ID}$"):
        decide(after(*history), ID, "canPush", "ann", NOW)


def test_who_is_removed_with_a_repository_is_told() -> None:
    history: list[Event] = [
        REGISTERED,
        AccessGranted("canPush", "ann", NOW),
        AccessGranted("canAuthorise", "bo", NOW),
    ]

    removed = remove(after(*history))

    assert removed == [Removed(("ann",), ("bo",))]
    assert after(*history, *removed) == Repo()
    assert view([*history, *removed]) is None
    assert after(*history, *removed, REGISTERED) == Repo(True, ID, URL)


# --- imports ----------------------------------------------------------------------


def test_names_from_elsewhere_are_lower_cased_collapsed_and_keep_their_order() -> None:
    pushers = ["user", "Zohara", "pgrau", "User", "ZOHARA", "tueda", "tueda"]

    [imported] = import_record(Repo(), ID, DEMO, pushers, [])

    assert after(imported) == Repo(True, ID, URL, ("user", "zohara", "pgrau", "tueda"), ())


def test_a_record_from_elsewhere_is_kept_as_it_is() -> None:
    record = {"project": None, "name": "MiXed", "odd": {"x": 1}}

    [imported] = import_record(Repo(), ID, record | {"_id": "x", "users": None}, [], [])

    assert imported == Imported(ID, record, (), (), (), ())
    assert view([imported]) == record
    assert after(imported) == Repo(True, ID, "")


@pytest.mark.parametrize("url", [None, 7, {"x": 1}])
def test_a_record_from_elsewhere_may_have_no_url(url: Any) -> None:
    assert after(*import_record(Repo(), ID, {"url": url}, [], [])) == Repo(True, ID, "")


def test_a_record_from_elsewhere_replaces_everything_and_tells_who_loses_a_role() -> None:
    history: list[Event] = [
        REGISTERED,
        AccessGranted("canPush", "ann", NOW),
        AccessGranted("canPush", "max", NOW),
        AccessGranted("canAuthorise", "bo", NOW),
    ]

    [imported] = import_record(after(*history), ID, {"name": "x"}, ["Max", "bo"], ["cy"])

    assert imported == Imported(ID, {"name": "x"}, ("max", "bo"), ("cy",), ("ann",), ("bo",))
    assert view([*history, imported]) == {"name": "x"}
    assert after(*history, imported) == Repo(True, ID, "", ("max", "bo"), ("cy",))


def test_a_word_about_nothing_shows_nothing() -> None:
    assert view([Changed({"name": "x"}, ()), AccessGranted("canPush", "ann", NOW)]) is None
