"""Users end to end: found by all that is theirs alone, listed without passwords, and forgotten."""

import json
import secrets
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from math import nan
from pathlib import Path
from threading import Barrier
from typing import Any

import bcrypt
import psycopg
import pytest

from refold.domain.errors import BadInput, Claimed, CommandIdTaken
from refold.domain.ports import Key
from refold.domain.texts import IllFormedText
from refold.domain.user import (
    EmptyField,
    KnownDeviceKey,
    KnownKey,
    KnownUser,
    NotAProfile,
    UnknownUser,
)
from refold.infrastructure import commands
from refold.infrastructure.codec import NotStorable
from refold.infrastructure.commands import Done
from refold.infrastructure.folding import pages
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import compare
from refold.infrastructure.open import open_store
from refold.infrastructure.passwords import hash_password
from refold.infrastructure.push_documents import same
from refold.infrastructure.services.users import (
    find_user,
    find_user_by_git_account,
    list_users,
    needs_new_hash,
    show_user,
    verify_password,
)
from refold.infrastructure.store import Store
from refold.projections import devices, public_keys, users
from refold.projections.projection import Projection
from refold.tests.addresses import new_url, own_url
from refold.tests.infrastructure.test_canaries import found, tables_of

SAMPLE = Path(__file__).parents[2] / "data" / "git-proxy" / "small" / "mongo" / "users.json"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbr4hKymqyaVWWeqODStc8zkhGN8F2Rh/I5MFh2CTSG"
FINGERPRINT = "SHA256:9/Vh/0KMLsd6Uts5AVdOLEWAuVCmuQ0f0BFKYDORPAo"
RECORD = {"key": KEY, "name": "desk ✓", "addedAt": "2024-10-25T15:57:49.883Z"}
ALL: Sequence[Projection] = (users, public_keys, devices)
NUMBERS = count()


pytestmark = pytest.mark.usefixtures("vault_key")


# --- documents --------------------------------------------------------------------


def test_a_user_has_exactly_the_stored_fields(store: Store) -> None:
    profile = {"username": "ada", "email": "a@b", "gitAccount": "Ada-GH", "admin": True}

    register(store, "1", profile, password_hash="$2b$secret")

    document = {"_id": "1", **profile, "publicKeys": []}
    assert show_user(store, "1") == find_user(store, username="ada") == document
    assert list(list_users(store)) == [document]


def test_nobody_is_found_where_nobody_is(store: Store) -> None:
    register(store, "1", {"username": "ada"})

    assert list(list_users(store, {"username": "bo"})) == []
    for by in ("username", "email", "oidc_id", "public_key", "device_key"):
        for value in ("", "bo", "1", "nul\0", "half \ud800", "x" * 9_000):
            assert find_user(store, **{by: value}) is None
            assert not verify_password(store, "", **{by: value})
    for id in ("", "2", "ada", "nul\0", "half \ud800", "x" * 9_000, "a/b%-~"):
        assert show_user(store, id) is None


@pytest.mark.parametrize("by", [{}, {"name": "ada"}, {"username": "ada", "email": "a@b"}])
def test_a_user_is_found_by_one_thing(memory: Store, by: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="by one of username, email, oidc_id, public_key"):
        find_user(memory, **by)


def test_ids_are_opaque_and_come_back_as_they_were(store: Store) -> None:
    ids = ["CLtHh2oEkup1xSOR", "66b1f0a2c3d4e5f601234567", "a/b%-~", "~é", "é" * 256, " ", "01HV"]
    for number, id in enumerate(ids):
        register(store, id, {"username": f"u{number}"})
        run(store, "user.add_key", id=id, record={"key": f"key {number}"})

    for number, id in enumerate(ids):
        document = {"_id": id, "username": f"u{number}", "publicKeys": [{"key": f"key {number}"}]}
        assert show_user(store, id) == find_user(store, username=f"u{number}") == document
        assert list(list_users(store, {"_id": id})) == [document]
    assert [each["_id"] for each in list_users(store)] == ids
    with pytest.raises(KnownUser):
        register(store, ids[0], {})


@pytest.mark.parametrize("id", ["", "nul\0", "\ud800", "line\n", "x" * 257])
def test_an_id_that_no_stream_could_hold_is_refused(memory: Store, id: str) -> None:
    with pytest.raises(IllFormedText, match="user id"):
        register(memory, id, {})


def test_unknown_fields_come_back_whatever_they_hold(store: Store) -> None:
    odd: dict[str, Any] = {
        "scmIdentities": {"github": "ada-gh"}, "nul\0\ud800": ["nul\0", "\udfff", "\u2028"],
        "big": 2**64, "small": -0.0, "time": 1e22, "null": None, "displayName": "A\0\ud800",
        "gitAccount": "x" * 5_000,
    }  # fmt: skip
    register(store, "1", {"username": "ada", "gone\0": 1})

    run(store, "user.change", id="1", profile=odd, unset=["gone\0", "\ud800"])

    kept = {"_id": "1", "username": "ada", **odd, "publicKeys": []}
    [listed] = list_users(store)
    assert same(show_user(store, "1"), kept)
    assert same(listed, kept)
    for field, value in odd.items():
        assert len(list(list_users(store, {field: value}))) == 1
    assert list(list_users(store, {"displayName": "A\u2400\ufffd"})) == []


@pytest.mark.parametrize("name", ["user.register", "user.change"])
def test_what_has_no_json_is_refused_by_name(memory: Store, name: str) -> None:
    deep: dict[str, Any] = {}
    for _ in range(70):
        deep = {"": deep}
    for profile in ({"x": nan}, {"x": {7: 7}}, deep):
        with pytest.raises(NotStorable):
            run(memory, name, id="1", profile=profile)
    assert memory.log.heads()[0].position == 0


# --- looking up -------------------------------------------------------------------


def test_a_user_is_found_by_each_thing_that_is_theirs_alone(store: Store) -> None:
    profile = {"username": "Ada", "email": "Ada@B.org", "oidcId": "Oidc|7", "pubkey": "7Xq2"}
    register(store, "1", profile)
    register(store, "2", {"username": "bo"})
    run(store, "user.add_key", id="1", record=RECORD)
    run(store, "user.add_device", username="ADA", device="d1", record={"pubkey": "9Zz"})

    document = show_user(store, "1")

    assert document is not None
    for by in (
        {"username": "ada"}, {"username": "ADA"}, {"email": "ada@b.org"}, {"email": "ADA@b.ORG"},
        {"oidc_id": "Oidc|7"}, {"public_key": "7Xq2"}, {"public_key": FINGERPRINT},
        {"public_key": KEY}, {"public_key": f"{KEY} comment"}, {"device_key": "9Zz"},
    ):  # fmt: skip
        assert find_user(store, **by) == document
    for by in ({"oidc_id": "oidc|7"}, {"public_key": "7xq2"}, {"device_key": "9zz"}):
        assert find_user(store, **by) is None


def test_an_address_is_found_however_it_is_spelled(store: Store) -> None:
    register(store, "1", {"email": "é@straße.de"})

    for spelled in ("é@straße.de", "É@STRASSE.DE", "e\u0301@strasse.de"):
        assert (find_user(store, email=spelled) or {}).get("email") == "é@straße.de"
        with pytest.raises(Claimed):
            register(store, "2", {"email": spelled})
    run(store, "user.change", id="1", profile={"email": "é@strasse.de"})
    with pytest.raises(Claimed):
        register(store, "2", {"email": "é@straße.de"})


def test_an_address_in_a_listing_is_compared_in_lower_case_alone(store: Store) -> None:
    register(store, "1", {"email": "é@straße.de"})

    assert ids(store, {"email": "É@STRAßE.DE"}) == ["1"]
    for spelled in ("é@strasse.de", "e\u0301@straße.de"):
        assert ids(store, {"email": spelled}) == []


def test_a_user_name_is_another_unless_it_is_the_same_in_lower_case(store: Store) -> None:
    names = {"1": "é", "2": "e\u0301", "3": "straße", "4": "strasse"}
    for id, name in names.items():
        register(store, id, {"username": name})

    for id, name in names.items():
        assert (find_user(store, username=name) or {}).get("_id") == id
        assert ids(store, {"username": name}) == [id]
    for id, spelled in {"1": "É", "2": "E\u0301", "3": "STRAßE", "4": "STRASSE"}.items():
        assert (find_user(store, username=spelled) or {}).get("_id") == id
        with pytest.raises(Claimed):
            register(store, "5", {"username": spelled})


def test_git_accounts_are_looked_up_as_they_were_given(store: Store) -> None:
    register(store, "1", {"username": "ada", "gitAccount": "Ada-GH"})
    register(store, "2", {"username": "bo", "gitAccount": "none"})
    register(store, "3", {"username": "cy", "gitAccount": "none"})

    assert ids(store, {"gitAccount": "Ada-GH"}) == ["1"]
    assert ids(store, {"gitAccount": "ada-gh"}) == []
    assert ids(store, {"gitAccount": "none"}) == ["2", "3"]


def test_a_git_account_is_found_in_any_case_and_the_first_of_several(store: Store) -> None:
    register(store, "1", {"username": "ada", "gitAccount": "Ada-GH"})
    register(store, "2", {"username": "bo", "gitAccount": "ADA-gh"})
    register(store, "3", {"username": "cy", "gitAccount": "Äda\0"})
    register(store, "4", {"username": "dee", "gitAccount": "X" * 2_000})
    register(store, "5", {"username": "eve", "gitAccount": 7})
    run(store, "user.add_key", id="1", record=RECORD)

    assert found_by_account(store, "ada-GH") == "1"
    assert find_user_by_git_account(store, "ada-gh") == show_user(store, "1")
    assert found_by_account(store, "äDA\0") == "3"
    assert found_by_account(store, "x" * 2_000) == "4"
    for nobody in ("", "äda\u2400", "none", "7", "~" + "0" * 64, "\ud800"):
        assert found_by_account(store, nobody) is None
    run(store, "user.change", id="1", profile={"gitAccount": "other"})
    assert found_by_account(store, "ada-gh") == "2"
    run(store, "user.delete", id="2")
    assert found_by_account(store, "ada-gh") is None


# --- listing ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, ["1", "2"]),
        ({"username": "ADA"}, ["1"]),
        ({"email": "ADA@B"}, ["1"]),
        ({"admin": True}, ["1"]),
        ({"admin": 1}, []),
        ({"admin": False}, ["2"]),
        ({"username": 7}, []),
        ({"oidcId": None}, ["2"]),
        ({"odd": [1, {"x": None}]}, ["1"]),
        ({"odd": [True, {"x": None}]}, []),
        ({"_id": "2", "admin": False}, ["2"]),
        ({"username": "ada", "admin": False}, []),
        ({"username": "nul\0"}, []),
        ({"nobody has it": None}, []),
        ({"password": "$2b$secret"}, []),
        ({"displayName": "~x"}, ["2"]),
        ({"displayName": "y" * 2_000}, ["1"]),
    ],
)
def test_any_field_may_be_asked_for(
    memory: Store, query: dict[str, object], expected: list[str]
) -> None:
    first = {"username": "ada", "email": "ada@b", "admin": True, "odd": [1, {"x": None}]}
    register(memory, "1", first | {"displayName": "y" * 2_000}, password_hash="$2b$secret")
    register(memory, "2", {"admin": False, "oidcId": "", "displayName": "~x"})

    assert ids(memory, query) == expected


def test_a_listing_is_in_the_order_in_which_users_became_known(store: Store) -> None:
    for id in ("c", "a", "b"):
        register(store, id, {})
    run(store, "user.change", id="c", profile={"x": 1})
    run(store, "user.delete", id="a")
    register(store, "a", {})

    assert ids(store) == ["c", "b", "a"]


def test_a_listing_asks_for_the_vaults_keys_once_a_page_and_not_once_a_user(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        register(store, f"{number}", {"username": f"u{number}"})
    store.vault.blind("warm", "up")
    asked: list[int] = []
    keys = type(store.log).keys

    def counted(log: Any, subjects: list[str] | None = None) -> list[Key]:
        asked.append(len(subjects or ()))
        return keys(log, subjects)

    monkeypatch.setattr(pages, "PAGE", 100)
    monkeypatch.setattr(type(store.log), "keys", counted)
    listed = list(list_users(store))
    again = list(list_users(store))

    assert len(listed) == 300
    assert again == listed
    assert sum(asked) == 300
    assert [each for each in asked if each] == [100, 100, 100]


# --- changing ---------------------------------------------------------------------


def test_a_change_merges_and_leaves_what_it_does_not_name(store: Store) -> None:
    hash = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).decode()
    register(store, "1", {"username": "ada", "email": "a@b", "odd": 1}, password_hash=hash)
    run(store, "user.add_key", id="1", record=RECORD)

    done = run(store, "user.change", username="ADA", profile={"email": "C@D"}, unset=["odd"])
    again = run(store, "user.change", username="ada", profile={"email": "c@d"}, unset=["odd"])

    assert (done.outcome, again.outcome) == ("appended", "unchanged")
    assert find_user(store, email="c@d") == {
        "_id": "1", "username": "ada", "email": "c@d", "publicKeys": [RECORD],
    }  # fmt: skip
    assert find_user(store, email="a@b") is None
    assert verify_password(store, "secret", email="c@d")
    assert list(list_users(store)) == [show_user(store, "1")]


def test_a_user_who_is_renamed_by_id_gives_the_old_name_away(store: Store) -> None:
    register(store, "1", {"username": "ada"})

    run(store, "user.change", id="1", profile={"username": "bo"})
    register(store, "2", {"username": "ada"})

    assert [each["username"] for each in list_users(store)] == ["bo", "ada"]
    assert (find_user(store, username="ada") or {})["_id"] == "2"


def test_nobody_comes_to_be_by_a_change(store: Store) -> None:
    for whom in ({"id": "1"}, {"username": "ada"}):
        with pytest.raises(UnknownUser, match=r"^user .* is not known$"):
            run(store, "user.change", **whom, profile={"admin": True})
    assert list(list_users(store)) == []


def test_a_name_leads_to_nobody_who_has_it_as_an_id(store: Store) -> None:
    register(store, "ada", {"username": "bo"})

    for name, data in ASKED_OF_ONE.items():
        with pytest.raises(UnknownUser, match="user ada is not known"):
            run(store, name, username="ada", **data)
    done = run(store, "user.delete", username="ada")

    assert (done.outcome, done.version) == ("unchanged", 0)
    assert show_user(store, "ada") == {"_id": "ada", "username": "bo", "publicKeys": []}


ASKED_OF_ONE: dict[str, dict[str, Any]] = {
    "user.change": {"profile": {"admin": True}},
    "user.add_key": {"record": RECORD},
    "user.remove_key": {"key": KEY},
    "user.add_device": {"device": "d", "record": {"pubkey": "9"}},
    "user.erase": {},
}


@pytest.mark.parametrize("username", ["nul\0", "\ud800"])
@pytest.mark.parametrize("name", [*ASKED_OF_ONE, "user.delete"])
def test_a_name_that_no_claim_holds_is_refused_by_name(
    store: Store, name: str, username: str
) -> None:
    with pytest.raises(IllFormedText, match=r"^user name "):
        run(store, name, username=username, **ASKED_OF_ONE.get(name, {}))


@pytest.mark.parametrize("whom", [{}, {"id": "1", "username": "ada"}])
def test_who_is_meant_is_said_once(memory: Store, whom: dict[str, str]) -> None:
    with pytest.raises(BadInput, match="by id or by username"):
        run(memory, "user.delete", **whom)


@pytest.mark.parametrize("field", ["username", "gitAccount", "email"])
def test_a_blank_name_account_or_address_is_refused(memory: Store, field: str) -> None:
    with pytest.raises(EmptyField, match=f"^{field} cannot be empty$"):
        register(memory, "1", {"username": "ada", field: " "})


# --- what one user only may have --------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "field", "value", "other"),
    [
        ("user name", "username", "ada", "ADA"),
        ("e-mail", "email", "a@b", "A@B"),
        ("oidc id", "oidcId", "Oidc|7", "Oidc|7"),
        ("public key", "pubkey", "7Xq2", "7Xq2"),
    ],
)
def test_what_another_has_is_refused_by_name(
    store: Store, kind: str, field: str, value: str, other: str
) -> None:
    register(store, "1", {field: value})
    register(store, "2", {"x": 1})

    attempts: list[Callable[[], Done]] = [
        lambda: register(store, "3", {field: other}),
        lambda: run(store, "user.change", id="2", profile={field: other}),
    ]
    for attempt in attempts:
        with pytest.raises(Claimed, match=f"^this {kind} is already taken by user-1$"):
            attempt()

    assert show_user(store, "3") is None
    assert ids(store) == ["1", "2"]
    run(store, "user.change", id="1", profile={field: None})
    register(store, "3", {field: other})


def test_ids_at_a_provider_that_differ_in_case_are_different(store: Store) -> None:
    register(store, "1", {"oidcId": "a", "pubkey": "x"})
    register(store, "2", {"oidcId": "A", "pubkey": "X"})

    assert ids(store) == ["1", "2"]


@pytest.mark.parametrize("profile", [{}, {"email": None, "oidcId": ""}, {"oidcId": None}])
def test_any_number_of_users_have_no_address_and_no_id_at_a_provider(
    store: Store, profile: dict[str, object]
) -> None:
    for id in ("1", "2", "3"):
        register(store, id, profile | {"username": id})

    assert ids(store) == ["1", "2", "3"]
    assert {each.get("oidcId") for each in list_users(store)} == {None}


def test_of_two_who_take_a_name_at_once_exactly_one_gets_it(store: Store) -> None:
    names = [f"u{number}" for number in range(12)]
    line_up = Barrier(4, timeout=30)

    def race(writer: int) -> list[str]:
        won = []
        for name in names:
            line_up.wait()
            spelled = name.upper() if writer % 2 else name
            with suppress(Claimed):
                register(store, f"{name} of {writer}", {"username": spelled, "email": f"{name}@b"})
                won.append(name)
        return won

    with ThreadPoolExecutor(line_up.parties) as pool:
        winners = [name for won in pool.map(race, range(line_up.parties)) for name in won]

    assert sorted(winners) == sorted(names)
    assert sorted(each["username"] for each in list_users(store)) == sorted(names)


# --- public keys ------------------------------------------------------------------


def test_a_key_is_added_listed_and_removed(store: Store) -> None:
    register(store, "1", {"username": "ada"})
    records = [{"key": f"ssh-rsa {n}", "name": "k\0\ud800", "odd": [n]} for n in (3, 1, 2)]
    for record in records:
        run(store, "user.add_key", username="ada", record=record)
    assert (show_user(store, "1") or {})["publicKeys"] == records
    assert [each["publicKeys"] for each in list_users(store)] == [records]

    run(store, "user.remove_key", username="ada", key="ssh-rsa 1")

    assert (show_user(store, "1") or {})["publicKeys"] == [records[0], records[2]]
    assert list(list_users(store)) == [show_user(store, "1")]


def test_keys_are_a_list_also_after_the_last_one_was_removed(store: Store) -> None:
    register(store, "1", {"username": "ada"})
    run(store, "user.add_key", id="1", record=RECORD)

    run(store, "user.remove_key", id="1", key=FINGERPRINT)
    again = run(store, "user.remove_key", id="1", key=FINGERPRINT)

    assert again.outcome == "unchanged"
    assert (show_user(store, "1") or {})["publicKeys"] == []
    assert [each["publicKeys"] for each in list_users(store)] == [[]]


def test_a_key_is_refused_to_its_owner_and_to_another(store: Store) -> None:
    register(store, "1", {"username": "ada"})
    register(store, "2", {"username": "bo"})
    run(store, "user.add_key", id="1", record=RECORD)

    for record in (RECORD, {"key": f"{KEY} comment"}, {"key": "x", "fingerprint": FINGERPRINT}):
        with pytest.raises(KnownKey, match=r"^user 1 has key SHA256:.* already$"):
            run(store, "user.add_key", id="1", record=record)
        with pytest.raises(Claimed, match=r"^this public key is already taken by user-1$"):
            run(store, "user.add_key", id="2", record=record)

    run(store, "user.remove_key", id="1", key=KEY)
    run(store, "user.add_key", id="2", record=RECORD)
    assert (find_user(store, public_key=KEY) or {})["_id"] == "2"


@pytest.mark.parametrize("key", ["nul\0", "\ud800", "ssh-rsa " + "A" * 9_000])
def test_a_key_that_no_index_holds_is_kept_and_found(store: Store, key: str) -> None:
    register(store, "1", {})

    run(store, "user.add_key", id="1", record={"key": key, "fingerprint": "f\0" * 300})

    assert (show_user(store, "1") or {})["publicKeys"][0]["key"] == key
    assert list(list_users(store)) == [show_user(store, "1")]
    if key.isascii() and "\0" not in key:
        assert (find_user(store, public_key=key) or {})["_id"] == "1"


# --- decentcom --------------------------------------------------------------------


def test_users_of_decentcom_are_made_found_and_listed(store: Store) -> None:
    register(store, "01HV1", {"pubkey": "7Xq2", "displayName": "alice", "isBot": False})
    register(store, "01HV2", {"pubkey": "8Yr3", "displayName": None, "isBot": False})

    run(store, "user.change", id="01HV1", profile={"displayName": "Alice", "avatarHash": "ab"})
    run(store, "user.change", id="01HV1", unset=["avatarHash"])

    assert find_user(store, public_key="7Xq2") == show_user(store, "01HV1")
    assert [each["displayName"] for each in list_users(store)] == ["Alice", None]
    assert "avatarHash" not in (show_user(store, "01HV1") or {})
    with pytest.raises(UnknownUser):
        run(store, "user.change", id="01HV9", profile={"displayName": "x"})


def test_who_is_a_bot_says_so(store: Store) -> None:
    register(store, "01HV1", {"pubkey": "7Xq2", "isBot": True})
    register(store, "01HV2", {"pubkey": "8Yr3", "isBot": False})

    assert ids(store, {"isBot": True}) == ["01HV1"]
    assert [row[8] for row in rows(store, users)] == [1, 0]


def test_a_key_of_another_user_or_device_is_a_conflict(store: Store) -> None:
    register(store, "01HV1", {"pubkey": "7Xq2"})
    register(store, "01HV2", {"pubkey": "8Yr3"})
    run(store, "user.add_device", id="01HV1", device="d1", record={"pubkey": "9"})

    with pytest.raises(Claimed, match=r"^this public key is already taken by user-01HV1$"):
        register(store, "01HV3", {"pubkey": "7Xq2"})
    with pytest.raises(Claimed, match=r"^this device key is already taken by user-01HV1$"):
        run(store, "user.add_device", id="01HV2", device="d2", record={"pubkey": "9"})

    with pytest.raises(KnownDeviceKey, match=r"^device d1 of user 01HV1 has this key already$"):
        run(store, "user.add_device", id="01HV1", device="d2", record={"pubkey": "9"})

    run(store, "user.add_device", id="01HV1", device="d1", record={"pubkey": "10"})
    run(store, "user.add_device", id="01HV2", device="d2", record={"pubkey": "9"})
    assert (find_user(store, device_key="9") or {})["_id"] == "01HV2"
    assert [row[:3] for row in rows(store, devices)] == [
        ("01HV1", "d1", "10"),
        ("01HV2", "d2", "9"),
    ]


# --- passwords --------------------------------------------------------------------


def test_a_password_is_verified_by_whatever_finds_the_user(store: Store) -> None:
    register(store, "1", {"username": "ada", "email": "a@b"}, password_hash=hash_password("secret"))
    register(store, "2", {"username": "bo"})

    assert verify_password(store, "secret", username="ADA")
    assert verify_password(store, "secret", email="A@b")
    assert not verify_password(store, "Secret", username="ada")
    assert not verify_password(store, "", username="bo")
    assert not needs_new_hash(store, username="ada")
    assert not needs_new_hash(store, username="bo")


def test_a_hash_of_bcrypt_is_verified_and_replaced_by_a_new_one(store: Store) -> None:
    long = "x" * 80
    old = bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(10)).decode()
    register(store, "1", {"username": "ada"}, password_hash=old)

    assert verify_password(store, long, username="ada")
    assert needs_new_hash(store, username="ada")

    run(store, "user.change", username="ada", password_hash=hash_password(long))
    assert verify_password(store, long, username="ada")
    assert not verify_password(store, long[:72], username="ada")
    assert not needs_new_hash(store, username="ada")
    run(store, "user.change", username="ada", profile={"password": None})
    assert not verify_password(store, long, username="ada")
    document = {"_id": "1", "username": "ada", "publicKeys": []}
    assert list(list_users(store)) == [show_user(store, "1")] == [document]


def test_users_that_git_proxy_stored_come_in_and_no_hash_comes_out(memory: Store) -> None:
    stored = [json.loads(line) for line in SAMPLE.read_text().split("\n") if line]
    kept = []
    for document in stored:
        id, hash = str(document["_id"]), document.get("password")
        profile = {
            field: value
            for field, value in document.items()
            if field not in ("_id", "password", "publicKeys")
        }
        try:
            register(memory, id, profile, password_hash=hash)
        except (Claimed, EmptyField):
            continue  # mongo allowed names and addresses twice
        kept.append(hash)
        assert hash is None or not verify_password(memory, "secret", username=profile["username"])
        assert needs_new_hash(memory, username=profile["username"]) == (hash is not None)

    listed = json.dumps(list(list_users(memory)))

    assert len(kept) > 10
    assert not [hash for hash in kept if hash and hash in listed + str(rows(memory, users))]
    assert [row[9] for row in rows(memory, users)] == [int(hash is not None) for hash in kept]


def test_a_password_is_in_no_document_listing_error_or_table(store: Store) -> None:
    secret = f"$2b$10$canary-{secrets.token_hex(8)}"
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("user.register", {"id": "2", "profile": {"password": secret}}),
        ("user.register", {"profile": {}, "password_hash": [secret]}),
        ("user.register", {"profile": secret, "password_hash": secret}),
        ("user.change", {"profile": {"password": secret}}),
        ("user.change", {"password": secret}),
        ("user.change", {"profile": {"username": 7, "x": secret}, "password_hash": secret}),
    ]
    said: list[str] = []
    register(store, "1", {"username": "ada"}, password_hash=secret)
    run(store, "user.change", id="1", profile={"admin": True}, password_hash=secret + "x")
    for name, data in wrong:
        with pytest.raises((BadInput, NotAProfile)) as refusal:
            run(store, name, **{"id": "1", **data})
        said.append(str(refusal.value))

    said += [*map(str, list_users(store)), str(show_user(store, "1")), repr(store.family("user-1"))]
    said += [str(rows(store, each)) for each in ALL]
    said += [repr(record.data) for record in store.log.page(0, 0, 9)]
    parsed = commands.parse("user.change", {"id": "1", "password_hash": secret, "profile": {}})
    said.append(repr(parsed))

    assert found([secret[7:]], "".join(map(str, said)).encode()) == []


# --- the end ----------------------------------------------------------------------


def test_who_is_deleted_is_not_there_and_the_name_is_free(store: Store) -> None:
    full(store, "1")

    run(store, "user.delete", username="ada")
    again = run(store, "user.delete", username="ada")

    assert again.outcome == "unchanged"
    assert run(store, "user.delete", id="unknown").outcome == "unchanged"
    assert_gone(store)
    full(store, "2")
    full_again = show_user(store, "2")
    assert full_again is not None
    assert ids(store) == ["2"]


def test_who_is_erased_is_gone_from_tables_and_claims_and_from_a_rebuild(store: Store) -> None:
    full(store, "1")
    assert [len(rows(store, each)) for each in ALL] == [1, 1, 1]

    run(store, "user.erase", username="ada")

    assert_gone(store)
    store.rebuilder.rebuild(ALL)
    assert_gone(store)
    assert store.log.keys(["user-1"])[0].wrapped is None
    with pytest.raises(UnknownUser):
        run(store, "user.erase", id="1")
    full(store, "2")
    assert ids(store) == ["2"]


def test_a_fold_that_comes_after_an_erasure_says_the_same(store: Store) -> None:
    full(store, "1")
    register(store, "2", {"username": "bo"})
    run(store, "user.erase", id="1")
    run(store, "user.register", id="1", profile={"username": "new"})

    assert [each["username"] for each in list_users(store)] == ["bo", "new"]
    [rebuilt, *_] = store.rebuilder.rebuild(ALL)
    assert rebuilt.is_equal
    assert [each["username"] for each in list_users(store)] == ["bo", "new"]


def test_who_was_deleted_is_erased_all_the_same(store: Store) -> None:
    full(store, "1")
    run(store, "user.delete", id="1")

    run(store, "user.erase", id="1")

    assert store.log.keys(["user-1"])[0].wrapped is None
    register(store, "1", {"username": "ada"})
    assert show_user(store, "1") == {"_id": "1", "username": "ada", "publicKeys": []}
    assert {key.subject for key in store.log.keys() if key.wrapped} == {"~vault", "user-1#2"}


def test_who_changes_and_who_erases_at_once_both_get_an_answer(store: Store) -> None:
    line_up = Barrier(2, timeout=30)
    register(store, "1", {"username": "ada"})

    def repeat(attempt: Callable[[int], object]) -> None:
        for number in range(10):
            line_up.wait()
            try:
                attempt(number)
            except (UnknownUser, KnownUser):
                continue

    with ThreadPoolExecutor(2) as pool:
        erasing = pool.submit(repeat, lambda _: run(store, "user.erase", id="1"))
        writing = pool.submit(repeat, lambda n: register(store, "1", {"username": f"u{n}"}))
        erasing.result()
        writing.result()

    alive = {key.subject for key in store.log.keys() if key.wrapped} - {"~vault"}
    assert len(alive) == (show_user(store, "1") is not None)
    assert list(list_users(store)) == list(filter(None, [show_user(store, "1")]))


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_a_profile_is_in_no_file_of_the_log_and_after_an_erasure_in_none_at_all(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    url = own_url(request, tmp_path, engine)  # all of it is looked at
    canaries = [f"canary-{what}-{secrets.token_hex(8)}" for what in ("name", "mail", "odd", "hash")]
    name, mail, odd, hash = canaries
    with open_store(url, create=True) as store:
        profile = {"username": name, "email": f"{mail}@b", "displayName": odd, odd: odd}
        register(store, "1", profile, password_hash=hash)
        run(store, "user.change", id="1", profile={"displayName": odd + "x"}, password_hash=hash)
        register(store, "2", {"username": "bo"})
        list(list_users(store))
        before = everything(tmp_path, url)

        run(store, "user.erase", id="1")
        run(store, "user.change", id="2", profile={"displayName": "bo"})
        list(list_users(store))
        store.rebuilder.rebuild(ALL)
        after = everything(tmp_path, url)

    log = {place: data for place, data in before.items() if "tables" not in place}
    if engine == "sqlite":  # the tables are in a file of their own, the name is a claim
        assert told(canaries, log) == {name}
    assert told(canaries, before) == {name, mail, odd}
    assert told(canaries, after) == set()


@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_copy_to_the_other_engine_carries_and_hides_the_same(
    request: pytest.FixtureRequest, tmp_path: Path, source: str, target: str
) -> None:
    urls = [new_url(request, tmp_path, engine) for engine in (source, target)]
    with open_store(urls[0], create=True) as one, open_store(urls[1], create=True) as other:
        full(one, "erased", hash_password("secret"))
        run(one, "user.erase", id="erased")
        full(one, "1", hash_password("secret"))
        register(one, "2", {"username": "bo", "odd": "nul\0 \ud800"})
        list(list_users(one))

        certificate = copy(one, other)

        assert certificate.equal
        assert compare(one, other).equal
        assert list(list_users(other)) == list(list_users(one))
        assert [rows(other, each) for each in ALL] == [rows(one, each) for each in ALL]
        assert show_user(other, "erased") is None
        assert verify_password(other, "secret", email="ADA@b")
        assert (find_user(other, device_key="9Zz") or {})["_id"] == "1"
        with pytest.raises(Claimed):
            register(other, "3", {"email": "ADA@b"})
        run(one, "user.erase", id="1")
        assert copy(one, other).equal
        assert ids(other) == ["2"]
        assert find_user(other, email="ada@b") is None
        assert not other.log.keys(["user-1"])[0].wrapped


# --- asked again ------------------------------------------------------------------


def test_a_command_that_is_asked_again_is_done_once(store: Store) -> None:
    first = register(store, "1", {"username": "ada"}, command_id="same")
    run(store, "user.change", username="ada", profile={"username": "bo"})

    again = register(store, "1", {"username": "ada"}, command_id="same")

    assert (again.outcome, again.version) == ("duplicate", first.version)
    assert ids(store, {"username": "bo"}) == ["1"]


def test_a_command_by_name_never_reaches_who_took_the_name_since(store: Store) -> None:
    register(store, "1", {"username": "ada"})
    run(store, "user.erase", "same", username="ada")
    register(store, "2", {"username": "ada"})

    with pytest.raises(CommandIdTaken):
        run(store, "user.erase", "same", username="ada")

    assert ids(store) == ["2"]


def run(store: Store, name: str, command_id: str | None = None, /, **data: Any) -> Done:
    command_id = command_id or f"{next(NUMBERS)}"
    return commands.run(store, name, data, command_id=command_id, actor="tests")


def register(
    store: Store, id: str, profile: dict[str, Any], *, command_id: str | None = None, **data: Any
) -> Done:
    return run(store, "user.register", command_id, id=id, profile=profile, **data)


def full(store: Store, id: str, hash: str | None = None) -> None:
    """Make a user known who has one of everything."""
    profile = {"username": "ada", "email": "ada@b", "oidcId": "O", "pubkey": "7Xq2"}
    register(store, id, profile, password_hash=hash)
    run(store, "user.add_key", id=id, record=RECORD)
    run(store, "user.add_device", id=id, device="d1", record={"pubkey": "9Zz"})


def assert_gone(store: Store) -> None:
    """Assert that nothing of the user that `full` made is left for anybody to see."""
    assert show_user(store, "1") is None
    assert [rows(store, each) for each in ALL] == [[], [], []]
    assert store.log.claims()[1] == []
    for by in (
        {"username": "ada"}, {"email": "ada@b"}, {"oidc_id": "O"}, {"public_key": "7Xq2"},
        {"public_key": FINGERPRINT}, {"device_key": "9Zz"},
    ):  # fmt: skip
        assert find_user(store, **by) is None


def found_by_account(store: Store, account: str) -> str | None:
    found = find_user_by_git_account(store, account)
    return found["_id"] if found else None


def ids(store: Store, query: dict[str, object] | None = None) -> list[str]:
    return [each["_id"] for each in list_users(store, query)]


def rows(store: Store, projection: Any) -> list[tuple[object, ...]]:
    store.folder.catch_up()
    with store.tables.reading() as connection:
        generation = store.tables.current(connection)[projection.NAME]
        return [tuple(row) for row in store.tables.rows.scan(connection, generation)]


def told(canaries: list[str], everywhere: dict[str, bytes]) -> set[str]:
    """Return the canaries that stand anywhere, however they are spelled."""
    return {each.split()[0] for data in everywhere.values() for each in found(canaries, data)}


def everything(folder: Path, url: str) -> dict[str, bytes]:
    """Return all bytes that a store keeps: SQLite's files, or the rows of PostgreSQL."""
    if url.startswith("sqlite"):
        for path in folder.glob("*.db*"):
            if path.suffix == ".db" or path.name.endswith("-tables"):
                with sqlite3.connect(path) as connection:
                    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with psycopg.connect(url) as server:
        return {"rows": tables_of(server)}
