"""What may happen to a user, what is claimed for them, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain.errors import Refused
from refold.domain.sealing import ERASED, forgotten, marks
from refold.domain.texts import IllFormedText
from refold.domain.user import (
    DEVICE_KEY,
    EMAIL,
    LONGEST_TEXT,
    NAME,
    OIDC_ID,
    PUBLIC_KEY,
    STORED_NAMES,
    Changed,
    ContentsRemoved,
    Deleted,
    DeviceAdded,
    EmptyField,
    Erased,
    Event,
    Imported,
    KeyAdded,
    KeyRemoved,
    KnownDeviceKey,
    KnownKey,
    KnownUser,
    NotAProfile,
    Registered,
    UnknownUser,
    User,
    add_device,
    add_key,
    after,
    change,
    claims,
    delete,
    erase,
    fingerprint_of,
    import_record,
    key_id,
    normal,
    parsed,
    register,
    remove_key,
)

ID, STREAM = "CLtHh2oEkup1xSOR", "user-CLtHh2oEkup1xSOR"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBbr4hKymqyaVWWeqODStc8zkhGN8F2Rh/I5MFh2CTSG"
FINGERPRINT = "SHA256:9/Vh/0KMLsd6Uts5AVdOLEWAuVCmuQ0f0BFKYDORPAo"
RECORD = {"key": KEY, "name": "desk ✓", "fingerprint": FINGERPRINT}
DEVICE = {"pubkey": "7Xq2", "device_name": "phone"}
ADA: Event = Registered(ID, STREAM, '{"username":"ada"}', "hash")
KEYED: Event = KeyAdded(FINGERPRINT, RECORD)
WITH_DEVICE: Event = DeviceAdded("d1", DEVICE)
DELETED: Event = Deleted((), ())
GONE: Event = Erased(STREAM, (), ())


def written(event: Event) -> dict[str, Any]:
    """Return the profile in an event."""
    assert isinstance(event, Registered | Changed | Imported)
    return parsed(event.profile)


DECISIONS: list[Callable[[dict[str, Any]], list[Event]]] = [
    lambda profile: register(User(), STREAM, ID, profile),
    lambda profile: change(after(ADA), ID, profile),
    lambda profile: import_record(User(), STREAM, ID, profile, None, []),
]


def erased(user: User) -> list[Event]:
    return erase(user, ID)


# --- registering ------------------------------------------------------------------


def test_a_user_has_exactly_the_fields_that_were_given_and_the_id() -> None:
    profile = {
        "username": "ada",
        "gitAccount": "Ada-GH",
        "email": "a@b",
        "admin": False,
        "odd": [1],
    }

    [registered] = register(User(), STREAM, ID, profile, "hash")

    assert written(registered) == profile
    assert after(registered) == User(ID, 0, STREAM, profile, "hash")


def test_names_and_addresses_are_kept_in_lower_case_and_nothing_else_is() -> None:
    given = {
        "username": "ADA",
        "email": "Ada@B.ORG",
        "gitAccount": "ADA",
        "oidcId": "ADA",
        "pubkey": "A",
    }
    kept = given | {"username": "ada", "email": "ada@b.org"}

    assert written(*register(User(), STREAM, ID, given)) == kept
    assert written(*change(after(ADA), ID, given)) == {
        k: v for k, v in kept.items() if k != "username"
    }
    assert written(*import_record(User(), STREAM, ID, given, None, [])) == kept


@pytest.mark.parametrize("user", [after(ADA), after(ADA, KEYED)])
def test_an_id_that_is_taken_is_refused(user: User) -> None:
    with pytest.raises(KnownUser, match=f"^there is a user {ID} already$"):
        register(user, STREAM, ID, {})


def test_an_oidc_id_is_kept_and_an_empty_one_is_none() -> None:
    for decide in DECISIONS:
        assert written(*decide({"oidcId": "Oidc|7"})) == {"oidcId": "Oidc|7"}
        assert written(*decide({"oidcId": ""})) == {"oidcId": None}


@pytest.mark.parametrize("field", ["username", "gitAccount", "email"])
@pytest.mark.parametrize("blank", ["", " \t"])
def test_a_blank_name_account_or_address_is_refused(field: str, blank: str) -> None:
    with pytest.raises(EmptyField, match=f"^{field} cannot be empty$"):
        register(User(), STREAM, ID, {field: blank})
    with pytest.raises(EmptyField, match=f"^{field} cannot be empty$"):
        change(after(ADA), ID, {field: blank})
    assert written(*import_record(User(), STREAM, ID, {field: blank}, None, [])) == {field: blank}


@pytest.mark.parametrize("decide", DECISIONS, ids=["register", "change", "import"])
@pytest.mark.parametrize("field", ["username", "email", "oidcId", "pubkey"])
def test_what_others_may_not_have_is_a_text_that_a_claim_holds(
    decide: Callable[[dict[str, Any]], list[Event]], field: str
) -> None:
    with pytest.raises(NotAProfile, match=f"^{field} of a user is a text, not int$"):
        decide({field: 7})
    for odd in ("nul\0", "half \ud800", "é" * (LONGEST_TEXT // 2) + "x"):
        with pytest.raises(IllFormedText, match=f"^{field} of a user ") as refusal:
            decide({field: odd})
        assert odd not in str(refusal.value)
    assert decide({field: "é" * (LONGEST_TEXT // 2)})
    assert decide({field: None})


@pytest.mark.parametrize("decide", DECISIONS, ids=["register", "change", "import"])
def test_a_password_an_id_and_keys_are_no_fields_of_a_profile(
    decide: Callable[[dict[str, Any]], list[Event]],
) -> None:
    for field, value in {"_id": "x", "publicKeys": [], "password": "$2b$secret"}.items():
        with pytest.raises(NotAProfile) as refusal:
            decide({field: value})
        assert "secret" not in str(refusal.value)
        assert field in str(refusal.value)
    assert written(*decide({"password": None})) == {"password": None}


# --- changing ---------------------------------------------------------------------


def test_a_partial_update_merges() -> None:
    history = [Registered(ID, STREAM, '{"admin":false,"both":1,"gone":2,"username":"ada"}', None)]

    events = change(after(*history), ID, {"admin": True, "both": 3, "new": None}, ["gone", "both"])

    assert events == [Changed(STREAM, '{"admin":true,"both":3,"new":null}', ("gone",))]
    assert after(*history, *events).profile == {
        "username": "ada", "admin": True, "both": 3, "new": None,
    }  # fmt: skip


def test_only_what_differs_is_news() -> None:
    history = Registered(ID, STREAM, '{"a":1,"b":{"x":[1]},"email":"a@b"}', "hash")
    user = after(history)

    assert change(user, ID, {"a": 1, "b": {"x": [1]}, "email": "A@B"}, ["unknown"]) == []
    assert [written(*change(user, ID, {"a": a, "b": {"x": [1]}})) for a in (True, 1.0, "1")] == [
        {"a": True},
        {"a": 1.0},
        {"a": "1"},
    ]


def test_a_password_stays_until_another_is_given_or_it_is_dropped() -> None:
    renamed = change(after(ADA), ID, {"displayName": "A"})
    changed = change(after(ADA), ID, {}, password="other")
    dropped = change(after(ADA), ID, {"password": None})
    unset = change(after(ADA), ID, {}, ["password"])
    both = change(after(ADA), ID, {"password": None}, password="other")
    all_three = change(after(ADA), ID, {"password": None}, ["password"], password="other")

    assert after(ADA, *renamed).password == "hash"
    assert after(ADA, *changed).password == "other"
    assert dropped == unset
    assert after(ADA, *dropped).password is None
    assert after(ADA, *both).password == after(ADA, *all_three).password == "other"
    assert change(after(ADA, *dropped), ID, {"password": None}) == []
    again = change(after(ADA, *both), ID, {"password": None})
    assert after(ADA, *both, *again).password is None


# --- keys and devices ---------------------------------------------------------------


def test_a_fingerprint_is_the_one_that_ssh_keygen_shows() -> None:
    assert fingerprint_of(KEY) == FINGERPRINT
    assert fingerprint_of(f"{KEY} ada@desk") == FINGERPRINT
    assert fingerprint_of(KEY.split()[1]) == FINGERPRINT


@given(st.text(st.characters() | st.characters(categories=["Cs"])))
def test_any_text_has_a_fingerprint_that_tables_and_claims_hold(key: str) -> None:
    for given_one in (None, "", "nul\0", "x" * 257, "é", 7):
        found = key_id({"key": key or "x", "fingerprint": given_one})
        assert found.isascii()
        assert len(found) == 50
        assert found.startswith("SHA256:")


def test_a_key_is_added_once_by_whatever_name() -> None:
    others = [
        RECORD,
        {"key": KEY},
        {"key": f"{KEY} comment"},
        {"key": KEY, "fingerprint": "MD5:another"},
        {"key": "ssh-rsa another", "fingerprint": FINGERPRINT},
    ]

    assert add_key(after(ADA), ID, RECORD) == [KEYED]
    for other in others:
        with pytest.raises(KnownKey, match=f"^user {ID} has key .* already$"):
            add_key(after(ADA, KEYED), ID, other)


@pytest.mark.parametrize("record", [{}, {"key": ""}, {"key": 7}, {"fingerprint": "SHA256:x"}])
def test_a_record_without_a_key_is_refused(record: dict[str, object]) -> None:
    with pytest.raises(NotAProfile, match="its text in `key`"):
        add_key(after(ADA), ID, record)
    with pytest.raises(NotAProfile, match="its text in `key`"):
        import_record(User(), STREAM, ID, {}, None, [record])


@pytest.mark.parametrize("named", [FINGERPRINT, KEY, f"{KEY} comment"])
def test_one_of_many_keys_is_removed_by_fingerprint_or_by_itself(named: str) -> None:
    other = {"key": "ssh-rsa other", "fingerprint": "MD5:other"}
    user = after(ADA, *add_key(User(ID), ID, other), KEYED)

    events = remove_key(user, ID, named)

    assert events == [KeyRemoved(FINGERPRINT)]
    assert after(ADA, KeyAdded("MD5:other", other), KEYED, *events).keys == {"MD5:other": other}
    assert remove_key(user, ID, "ssh-rsa other") == [KeyRemoved("MD5:other")]
    assert remove_key(user, ID, "unknown") == []


def test_keys_are_a_list_in_the_order_they_were_added_and_never_none() -> None:
    records = [{"key": text} for text in ("c", "a", "b")]
    history: list[Event] = [ADA]
    for record in records:
        history += add_key(after(*history), ID, record)

    assert list(after(*history).keys.values()) == records
    history += [KeyRemoved(key_id(record)) for record in records]
    assert after(*history).keys == {}


def test_a_device_is_added_or_replaced() -> None:
    assert add_device(after(ADA), ID, "d1", DEVICE) == [WITH_DEVICE]
    assert add_device(after(ADA, WITH_DEVICE), ID, "d1", dict(DEVICE)) == []
    assert add_device(after(ADA, WITH_DEVICE), ID, "d1", {"pubkey": "9"}) == [
        DeviceAdded("d1", {"pubkey": "9"})
    ]


def test_a_key_is_that_of_one_device() -> None:
    ada = after(ADA, WITH_DEVICE)

    with pytest.raises(KnownDeviceKey, match=rf"^device d1 of user {ID} has this key already$"):
        add_device(ada, ID, "d2", {**DEVICE, "device_name": "other"})

    moved = after(ADA, WITH_DEVICE, DeviceAdded("d1", {"pubkey": "9"}))
    assert add_device(moved, ID, "d2", DEVICE) == [DeviceAdded("d2", DEVICE)]


def test_a_device_has_an_id_and_a_key_that_claims_hold() -> None:
    for record in ({}, {"pubkey": None}, {"pubkey": 7}):
        with pytest.raises(NotAProfile, match="its key in `pubkey`"):
            add_device(after(ADA), ID, "d1", record)
    for bad in ("", "nul\0", "\ud800", "x" * 257):
        with pytest.raises(IllFormedText, match=r"^device id "):
            add_device(after(ADA), ID, bad, DEVICE)
        with pytest.raises(IllFormedText, match=r"^device key "):
            add_device(after(ADA), ID, "d1", {"pubkey": bad})


# --- the end ------------------------------------------------------------------------


def test_a_deletion_names_keys_and_devices() -> None:
    history: list[Event] = [ADA, KEYED, WITH_DEVICE]

    assert delete(after(*history)) == [Deleted((FINGERPRINT,), ("d1",))]
    assert after(*history, *delete(after(*history))) == User(subject=STREAM)


@pytest.mark.parametrize("user", [User(), after(ADA, DELETED), after(ADA, GONE)])
def test_to_delete_nobody_is_no_error(user: User) -> None:
    assert delete(user) == []


def test_an_erasure_names_the_subject_that_is_forgotten() -> None:
    history: list[Event] = [ADA, KEYED, WITH_DEVICE]

    [event] = erase(after(*history), ID)

    assert event == Erased(STREAM, (FINGERPRINT,), ("d1",))
    assert forgotten(event) == [STREAM]
    assert after(*history, event) == User(erasures=1)


def test_contents_that_only_they_used_go_with_who_is_erased() -> None:
    gone = ContentsRemoved(("ab" * 32,), 7)

    assert erase(after(ADA), ID, ["ab" * 32], 7) == [gone, GONE]
    assert after(ADA, gone) == after(ADA)


def test_who_was_deleted_can_still_be_erased() -> None:
    assert erase(after(ADA, DELETED), ID) == [GONE]
    assert after(ADA, DELETED, GONE) == User(erasures=1)


@pytest.mark.parametrize("user", [User(), after(ADA, GONE), after(ADA, DELETED, GONE)])
def test_nobody_cannot_be_erased(user: User) -> None:
    with pytest.raises(UnknownUser, match=f"^user {ID} is not known$"):
        erase(user, ID)


@pytest.mark.parametrize("over", [[], [ADA, DELETED], [ADA, GONE]])
def test_nothing_is_changed_of_a_user_who_is_not_there(over: list[Event]) -> None:
    user = after(*over)
    decisions: list[Callable[[], list[Event]]] = [
        lambda: change(user, ID, {"x": 1}),
        lambda: add_key(user, ID, RECORD),
        lambda: remove_key(user, ID, KEY),
        lambda: add_device(user, ID, "d1", DEVICE),
    ]
    for decide in decisions:
        with pytest.raises(UnknownUser, match=f"^user {ID} is not known$"):
            decide()


def test_no_subject_is_used_after_it_was_erased() -> None:
    history: list[Event] = []
    subjects = []
    ends: list[Callable[[User], list[Event]]] = [delete, erased, erased, delete]
    for over in ends:
        history += register(after(*history), STREAM, ID, {})
        subjects.append(after(*history).subject)
        history += over(after(*history))

    assert subjects == [STREAM, STREAM, f"{STREAM}#2", f"{STREAM}#3"]


def test_of_an_erased_profile_nothing_is_left() -> None:
    history: list[Event] = [Registered(ID, STREAM, ERASED, ERASED), Changed(STREAM, ERASED, ("x",))]

    assert after(*history) == User(ID, 0, STREAM, {}, ERASED)


# --- imports ----------------------------------------------------------------------


def test_a_legacy_record_replaces_everything_but_devices() -> None:
    other, added = {"key": "other"}, {"key": "added"}
    history: list[Event] = [ADA, KEYED, KeyAdded(key_id(other), other), WITH_DEVICE]

    events = import_record(after(*history), STREAM, ID, {"username": "bo"}, None, [other, added])

    assert events == [
        Imported(ID, STREAM, '{"username":"bo"}', None, (other, added), (FINGERPRINT,))
    ]
    keys = {key_id(other): other, key_id(added): added}
    assert after(*history, *events) == User(
        ID, 0, STREAM, {"username": "bo"}, None, keys, {"d1": DEVICE}
    )


def test_of_keys_that_come_twice_in_a_record_the_last_counts() -> None:
    twice = [RECORD, {"key": "x"}, RECORD | {"name": "last"}]

    [imported] = import_record(User(), STREAM, ID, {}, None, twice)

    assert isinstance(imported, Imported)
    assert imported.keys == (RECORD | {"name": "last"}, {"key": "x"})


def test_who_was_erased_is_imported_under_a_new_subject() -> None:
    subjects = [
        event.subject
        for over in ([], [ADA], [ADA, DELETED], [ADA, GONE])
        for event in import_record(after(*over), STREAM, ID, {}, None, [])
        if isinstance(event, Imported)
    ]

    assert subjects == [STREAM, STREAM, STREAM, f"{STREAM}#2"]


# --- claims -----------------------------------------------------------------------


def test_what_no_other_user_may_have_is_claimed() -> None:
    profile = {"username": "Ada", "email": "A@b", "oidcId": "O", "pubkey": "7X", "gitAccount": "g"}
    history = [*register(User(), STREAM, ID, profile), KEYED, WITH_DEVICE]

    assert claims(after(*history)) == {
        (NAME, "ada"), (EMAIL, "a@b"), (OIDC_ID, "O"), (PUBLIC_KEY, "7X"),
        (PUBLIC_KEY, FINGERPRINT), (DEVICE_KEY, "7Xq2"),
    }  # fmt: skip


def test_a_key_is_claimed_by_its_true_fingerprint_too() -> None:
    record = {"key": KEY, "fingerprint": "SHA256:false"}

    assert claims(after(Registered(ID, STREAM, "{}", None), *add_key(after(ADA), ID, record))) == {
        (PUBLIC_KEY, "SHA256:false"),
        (PUBLIC_KEY, FINGERPRINT),
    }


@pytest.mark.parametrize("empty", [None, ""])
def test_what_is_empty_is_not_claimed(empty: str | None) -> None:
    fields: dict[str, object] = {}
    fields |= dict.fromkeys(("username", "email", "oidcId", "pubkey"), empty)

    assert claims(after(*import_record(User(), STREAM, ID, fields, None, []))) == set()
    assert claims(User()) == set()


@pytest.mark.parametrize("over", [DELETED, GONE])
def test_of_who_is_gone_nothing_is_claimed(over: Event) -> None:
    assert claims(after(ADA, KEYED, WITH_DEVICE, over)) == set()


def test_a_claim_follows_its_field() -> None:
    renamed = after(ADA, *change(after(ADA), ID, {"username": "Bo"}))

    assert claims(renamed) == {(NAME, "bo")}
    assert claims(after(ADA, *change(after(ADA), ID, {}, ["username"]))) == set()


# --- secrets ----------------------------------------------------------------------


def test_profiles_and_passwords_are_sealed_and_no_event_or_state_shows_them() -> None:
    secret = '{"email":"canary"}'
    events: list[Event] = [
        Registered(ID, STREAM, secret, "canary"),
        Changed(STREAM, secret, (), "canary"),
        Imported(ID, STREAM, secret, "canary", (), ()),
    ]

    for event in events:
        cls: type = type(event)
        assert marks(cls) == {"profile": "personal", "password": "secret"}
        assert "canary" not in repr(event) + repr(after(event))


# --- all of them together ---------------------------------------------------------

VALUES = st.sampled_from([None, "", "Ada", "bo", "a@b", True, 1, 1.0, [1], "nul\0", "\ud800"])
PROFILES = st.dictionaries(
    st.sampled_from(["username", "email", "oidcId", "pubkey", "password", "x", "nul\0"]),
    VALUES,
    max_size=3,
)
KEYS = st.fixed_dictionaries(
    {"key": st.sampled_from(["a", "b", KEY])},
    optional={"fingerprint": st.sampled_from(["", "f", FINGERPRINT])},
)
HASHES = st.none() | st.just("hash")
ASKED: st.SearchStrategy[Callable[[User], list[Event]]] = st.one_of(
    st.builds(lambda p, h: lambda user: register(user, STREAM, ID, p, h), PROFILES, HASHES),
    st.builds(
        lambda p, unset, h: lambda user: change(user, ID, p, unset, h),
        PROFILES,
        st.lists(st.sampled_from(["username", "x", "nul\0"]), max_size=2),
        HASHES,
    ),
    st.builds(lambda record: lambda user: add_key(user, ID, record), KEYS),
    st.builds(lambda key: lambda user: remove_key(user, ID, key), st.sampled_from(["a", "f", KEY])),
    st.just(lambda user: add_device(user, ID, "d", DEVICE)),
    st.just(delete),
    st.just(erased),
    st.builds(
        lambda p, h, keys: lambda user: import_record(user, STREAM, ID, p, h, keys),
        PROFILES,
        HASHES,
        st.lists(KEYS, max_size=3),
    ),
)


@given(st.lists(ASKED, max_size=20))
def test_whatever_is_asked_a_user_stays_what_others_rely_on(
    asked: list[Callable[[User], list[Event]]],
) -> None:
    history: list[Event] = []
    forgotten_ones: set[str] = set()
    for decide in asked:
        try:
            events = decide(after(*history))
        except Refused:
            continue
        assert all(type(event) in STORED_NAMES.values() for event in events)
        for event in events:
            if isinstance(event, Registered | Changed | Imported):
                assert event.subject not in forgotten_ones
            forgotten_ones |= set(forgotten(event))
        history += events
        assert_sound(after(*history))


def assert_sound(user: User) -> None:
    assert not user.profile.keys() & {"_id", "publicKeys"}
    assert user.profile.get("password") is None
    assert user.profile.get("oidcId") != ""
    assert normal(user.profile) == user.profile
    assert [key_id(record) for record in user.keys.values()] == list(user.keys)
    assert all(value for _, value in claims(user))
    if not user.known:
        assert user == User(erasures=user.erasures, subject=user.subject)
