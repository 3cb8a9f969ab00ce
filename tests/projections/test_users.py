"""The tables of users: by every way the same rows, and the rows what the log says."""

from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import streams, user
from refold.domain.errors import Refused
from refold.domain.ports import Event, Recorded
from refold.domain.texts import canonical_json
from refold.infrastructure import commands
from refold.infrastructure.commands import blinded
from refold.infrastructure.folding.folder import fold_family
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.request import Situation
from refold.infrastructure.requests.users import RegisterUser, state
from refold.infrastructure.services.users import list_users, show_user
from refold.infrastructure.store import Store
from refold.projections import devices, public_keys, users
from refold.projections.projection import Key, Projection, Row
from refold.tests.projections.folds import asked, rows, rows_by_family

pytestmark = pytest.mark.usefixtures("small_pages")

ALL: tuple[Projection, ...] = (users, public_keys, devices)
LONG = "é" * 600


# --- the same rows by every way ---------------------------------------------------

ID = st.sampled_from(["a", "a", "b", "c/%~", "é" * 200])
ODD = st.sampled_from([None, True, 0, 7.5, 2**64, "", "nul\0", "half \ud800", LONG, ["y"]])
UNIQUE = st.sampled_from([None, "Ada", "bo", "straße", "STRASSE", "~x"])
PROFILE = st.fixed_dictionaries(
    {},
    optional={
        "username": UNIQUE,
        "email": UNIQUE,
        "oidcId": UNIQUE | st.just(""),
        "pubkey": UNIQUE,
        "displayName": ODD,
        "gitAccount": st.sampled_from(["none", LONG, None]),
        "createdAt": ODD,
        "admin": ODD,
        "isBot": ODD,
        "password": st.none(),
        "un\0known": ODD,
    },
)
HASH = st.none() | st.sampled_from(["", "$2b$hash"])
KEY = st.fixed_dictionaries(
    {"key": st.sampled_from(["ssh-rsa AAAA", "ssh-rsa AAAA comment", "nul\0", LONG])},
    optional={"fingerprint": st.sampled_from(["MD5:a", "nul\0", LONG]) | ODD, "name": ODD},
)
DEVICE = st.fixed_dictionaries(
    {"pubkey": st.sampled_from(["p", "q", "é"])}, optional={"device_name": ODD, "issued_at": ODD}
)


def asked_of_one(
    command: str, /, **fields: st.SearchStrategy[Any]
) -> st.SearchStrategy[tuple[str, Any]]:
    name = st.sampled_from(["ADA", "bo"])
    return asked(command, id=ID, **fields) | asked(command, username=name, **fields)


STEPS = st.one_of(
    asked("user.register", id=ID, profile=PROFILE, password_hash=HASH),
    asked("user.register", id=ID, profile=PROFILE, password_hash=HASH),
    asked_of_one(
        "user.change",
        profile=PROFILE,
        unset=st.lists(st.sampled_from(["username", "displayName", "password", "_id"]), max_size=2),
        password_hash=HASH,
    ),
    asked_of_one("user.add_key", record=KEY),
    asked_of_one("user.remove_key", key=st.sampled_from(["ssh-rsa AAAA", "MD5:a", "nul\0"])),
    asked_of_one("user.add_device", device=st.sampled_from(["d", "e%"]), record=DEVICE),
    asked_of_one("user.delete"),
    asked_of_one("user.erase"),
    asked("import", id=ID, profile=PROFILE, password_hash=HASH, keys=st.lists(KEY, max_size=3)),
    st.tuples(st.just("fold"), st.none()),
)
BEGINNING = [
    ("user.register", {"id": "a", "profile": {"username": "Ada"}, "password_hash": "$2b$hash"}),
    ("user.add_key", {"id": "a", "record": {"key": "ssh-rsa AAAA"}}),
    ("user.add_device", {"id": "a", "device": "d", "record": {"pubkey": "p"}}),
]


class ImportUser(RegisterUser):
    """Take over a legacy record, as an importer asks for it."""

    keys: list[dict[str, Any]]

    def decide(self, now: Situation) -> Sequence[object]:
        known, stream = state(now.events), self.stream()
        return user.import_record(
            known, stream, self.id, self.profile, self.password_hash, self.keys
        )


@given(st.lists(STEPS, min_size=5, max_size=30))
def test_live_folding_a_rebuild_and_a_fold_by_family_give_the_same_rows(
    steps: list[tuple[str, Any]],
) -> None:
    with open_store("memory:") as store:
        take(store, [*BEGINNING, *steps])
        store.folder.catch_up()
        live = rows(store, ALL)

        rebuilt = store.rebuilder.rebuild(ALL)

        assert rows(store, ALL) == live == rows_by_family(store, ALL)
        assert all(each.is_equal for each in rebuilt)
        assert_rows_are_states(store, live)
        assert_what_is_listed_is_what_is_shown(store)
        assert_claims_are_those_of_states(store)


def take(store: Store, steps: list[tuple[str, Any]]) -> None:
    numbers = count()
    for name, data in steps:
        id = f"{next(numbers)}"
        with suppress(Refused):  # there may be no such user, the name may be another's
            if name == "fold":
                store.folder.catch_up()
            elif name == "import":
                request = ImportUser.model_validate(data)
                commands.carry_out(store, request, command_id=id, actor="ada")
            else:
                commands.run(store, name, data, command_id=id, actor="ada")


def states(store: Store) -> dict[str, user.User]:
    """Return all users, those who are gone too, by the keys of their streams."""
    names = {record.stream for record in store.log.page(0, 0, 10_000)}
    return {streams.family_key(name): state(store.history(name)) for name in names}


def assert_rows_are_states(store: Store, tables: dict[str, dict[Key, Row]]) -> None:
    found = {key: each for key, each in states(store).items() if each.known}

    assert tables["users"].keys() == {(key,) for key in found}
    for key, each in found.items():
        row = users.Row._make(tables["users"][key,])
        assert row.profile == canonical_json({"_id": each.id, **each.profile})
        assert row.has_password == (each.password is not None)
    assert tables["public_keys"].keys() == {(key, id) for key in found for id in found[key].keys}
    assert tables["devices"].keys() == {(key, id) for key in found for id in found[key].devices}


def assert_what_is_listed_is_what_is_shown(store: Store) -> None:
    listed = list(list_users(store))

    assert listed == [show_user(store, each["_id"]) for each in listed]
    assert len(listed) == sum(each.known for each in states(store).values())


def assert_claims_are_those_of_states(store: Store) -> None:
    expected = {
        (*blinded(store, claim), f"user-{key}")
        for key, each in states(store).items()
        for claim in user.claims(each)
    }

    assert {(each.kind, each.value, each.stream) for each in store.log.claims()[1]} == expected


# --- what a row says --------------------------------------------------------------


def test_a_row_says_of_a_user_what_can_be_looked_up() -> None:
    profile = {
        "username": "ada", "email": "a@b", "displayName": "A\0", "gitAccount": LONG, "oidcId": "O",
        "pubkey": "7Xq2", "admin": True, "isBot": 1, "createdAt": "2026-04-15T14:15:53.123Z",
    }  # fmt: skip

    row = folded(user.Registered("a/b", "user-1", canonical_json(profile), "hash"))["users"]["1",]

    found = users.Row._make(row)
    assert found[:4] == ("1", "ada", "a@b", "A\u2400")
    assert found.git_account is not None
    assert len(found.git_account) == 65
    assert found[5:9] == ("O", "7Xq2", 1, 0)
    assert found[9:13] == (
        1,
        "2026-04-15T14:15:53.123Z",
        canonical_json(profile | {"_id": "a/b"}),
        1,
    )


def test_a_row_has_the_account_in_lower_case_too() -> None:
    for text, account in (("Ada-GH", "ada-gh"), ("ÄDA\0", "äda\u2400"), (7, None), (None, None)):
        registered = user.Registered("1", "user-1", canonical_json({"gitAccount": text}), None)
        row = users.Row._make(folded(registered)["users"]["1",])

        assert row.git_account_lower == account
    long = user.Registered("1", "user-1", canonical_json({"gitAccount": LONG}), None)
    row = users.Row._make(folded(long)["users"]["1",])
    assert (row.git_account_lower or "").startswith("~")


def test_a_row_says_nothing_of_what_is_no_text() -> None:
    profile = {"displayName": 7, "createdAt": {"$date": 1}, "gitAccount": None, "admin": "true"}

    row = folded(user.Registered("1", "user-1", canonical_json(profile), None))["users"]["1",]

    assert row[1:11] == (None, None, None, None, None, None, 0, 0, 0, None)


@pytest.mark.parametrize(
    ("changes", "has_password"),
    [
        ([], 1),
        ([user.Changed("user-1", '{"x":1}', ())], 1),
        ([user.Changed("user-1", '{"password":null}', ())], 0),
        ([user.Changed("user-1", '{"password":null}', (), "new")], 1),
        ([user.Changed("user-1", '{"password":null}', ()), user.Changed("u", "{}", (), "new")], 1),
        ([user.Imported("1", "user-1", "{}", None, (), ())], 0),
    ],
)
def test_a_row_says_whether_there_is_a_password(
    changes: list[user.Event], has_password: int
) -> None:
    registered = user.Registered("1", "user-1", "{}", "hash")

    row = users.Row._make(folded(registered, *changes)["users"]["1",])

    assert row.has_password == has_password


def test_a_row_says_of_a_key_who_pushes_by_it_and_in_which_order() -> None:
    known = user.Registered("1", "user-1", "{}", None)
    first, second = {"key": "k", "name": "desk", "addedAt": "then"}, {"key": "nul\0"}
    gone, third = {"key": "gone"}, {"key": "third"}
    imported = user.Imported("1", "user-1", "{}", None, (second, first), (user.key_id(gone),))
    added = [user.KeyAdded(user.key_id(each), each) for each in (first, gone, third)]

    tables = folded(known, *added[:2], imported, added[2])

    found = sorted(
        map(public_keys.Row._make, tables["public_keys"].values()),
        key=lambda row: (row.position, row.number),
    )
    assert [row[:1] + row[2:] for row in found] == [
        ("1", "nul\u2400", None, None, canonical_json(second), 4, 0),
        ("1", "k", "desk", "then", canonical_json(first), 4, 1),
        ("1", "third", None, None, canonical_json(third), 5, 0),
    ]
    assert [row.fingerprint for row in found] == list(map(user.key_id, (second, first, third)))


@pytest.mark.parametrize("over", [user.Deleted, user.Erased])
def test_of_who_is_gone_there_is_no_row(over: Any) -> None:
    key, device = {"key": "k"}, {"pubkey": "p", "device_name": "phone", "issued_at": "then"}
    history: list[user.Event] = [
        user.Registered("1", "user-1", '{"username":"ada"}', None),
        user.KeyAdded(user.key_id(key), key),
        user.DeviceAdded("d", device),
    ]
    subject = ["user-1"] if over is user.Erased else []

    assert folded(*history)["devices"] == {
        ("1", "d"): ("1", "d", "p", None, "phone", "then", None, 3)
    }
    assert folded(*history, over(*subject, keys=(user.key_id(key),), devices=("d",))) == {
        each.NAME: {} for each in ALL
    }


def folded(*values: user.Event) -> dict[str, dict[Key, Row]]:
    events = [
        Event(
            Recorded(0, position, "user-1", position, "", 1, b"", b"", 0, f"{position}", 0), value
        )
        for position, value in enumerate(values, 1)
    ]
    return fold_family(events, ALL)
