"""The vault: its own key alone opens what it sealed, where it was sealed, until it is erased."""

import os
import stat
import subprocess
import sys
import unicodedata
from base64 import b64encode
from dataclasses import dataclass, field, replace
from functools import reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import session
from refold.domain.errors import KeyErased, NoVaultKey, WrongVaultKey
from refold.domain.ports import Command, Event, Key, NewEvent, Recorded, Write
from refold.domain.sealing import ERASED, FORGOTTEN, PERSONAL, SECRET, Erased, Sealed, Text
from refold.infrastructure import commands
from refold.infrastructure.codec import EVENTS, Codec, NotStorable
from refold.infrastructure.memory.log import MemoryLog
from refold.infrastructure.open import open_store
from refold.infrastructure.services.sessions import list_sessions, show_session
from refold.infrastructure.store import Store
from refold.infrastructure.vault import Vault, digest
from refold.infrastructure.vault_key import GivenKey, KeyFile, KeyInMemory, NoKey

STREAM, COMMAND = "user-1", "command 1"
OWN, ANOTHER = "5a" * 32, "a5" * 32
SESSION, ANOTHER_SESSION = (
    f"session-{sha256(text).hexdigest()}" for text in (b"golden", b"another")
)
TEXTS = st.text(st.characters() | st.characters(categories=["Cs"]))


@dataclass(frozen=True, slots=True)
class Joined:
    subject: str
    password: Text = field(metadata=SECRET)
    name: Text = field(metadata=PERSONAL)
    colour: str = "red"
    mail: Text | None = field(default=None, metadata=PERSONAL)


@dataclass(frozen=True, slots=True)
class Left:
    subject: str = field(metadata=FORGOTTEN)


CODEC = Codec({"user.joined": Joined, "user.left": Left})


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog()


@pytest.fixture
def vault(log: MemoryLog) -> Vault:
    return Vault(log, GivenKey(OWN))


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a SQLite store that makes a vault key of its own."""
    monkeypatch.delenv("REFOLD_VAULT_KEY", raising=False)
    return f"sqlite:///{tmp_path}/store.db"


# --- marked fields ----------------------------------------------------------------------


@given(TEXTS, TEXTS, st.none() | TEXTS)
def test_a_sealed_event_comes_back_as_it_went(name: str, password: str, mail: str | None) -> None:
    log = MemoryLog()
    vault = Vault(log, KeyInMemory())
    value = Joined("ada", password, name, "blue", mail)

    record = recorded(vault, log, value)
    [as_it_is], [opened] = decoded(CODEC, record), decoded(CODEC.opening(vault.open_all), record)

    assert isinstance(opened, Joined)
    assert (opened.name, opened.mail, opened.colour) == (name, mail, "blue")
    assert isinstance(opened.password, Sealed)
    assert vault.open(opened.password) == password
    assert isinstance(as_it_is, Joined)
    assert isinstance(as_it_is.name, Sealed)
    assert as_it_is.password == opened.password
    assert CODEC.encode(as_it_is, b"{}").data == record.data


def test_the_bytes_hold_no_clear_text_and_no_two_boxes_are_equal(
    vault: Vault, log: MemoryLog
) -> None:
    value = Joined("ada", "the same", "the same")

    first, second = recorded(vault, log, value), recorded(vault, log, value)

    assert b"same" not in first.data
    assert b64encode(b"the same")[:8] not in first.data
    boxes = {
        box
        for record in (first, second)
        for each in decoded(CODEC, record)
        for box in (each.password.box, each.name.box)
    }
    assert len(boxes) == 4


def test_a_marked_text_that_was_not_sealed_is_never_encoded(vault: Vault) -> None:
    sealed = next(vault.sealing(STREAM, COMMAND).seal([Joined("ada", "secret", "Ada")]))
    assert isinstance(sealed, Joined)

    for clear in ({"password": "clear text"}, {"name": ""}, {"mail": "a@b"}):
        with pytest.raises(NotStorable, match="is to be sealed") as refusal:
            CODEC.encode(replace(sealed, **clear), b"{}")

        assert "clear text" not in str(refusal.value)


def test_one_command_makes_one_key_for_a_subject_and_uses_the_one_that_is_there(
    vault: Vault, log: MemoryLog
) -> None:
    first, second = vault.sealing(STREAM, "1"), vault.sealing(STREAM, "2")

    list(first.seal([Joined("ada", "a", "b"), Joined("bo", "c", "d"), Joined("ada", "e", "f")]))
    log.merge_keys(list(first.keys.values()))
    list(second.seal([Joined("ada", "a", "b")]))

    assert sorted(first.keys) == ["ada", "bo"]
    assert second.keys == {}


def test_stored_samples_are_opened_for_ever(
    golden: list[Recorded], vault: Vault, log: MemoryLog
) -> None:
    subjects = {SESSION, f"{SESSION}#2", ANOTHER_SESSION}
    log.merge_keys([vault.wrap(subject, bytes(range(32))) for subject in subjects])
    set_again = (session.Started, session.Changed)
    values = [EVENTS.decode(sample).value for sample in golden]

    boxes = [each.body for each in values if isinstance(each, set_again)]

    assert [vault.open(box) for box in boxes if isinstance(box, Sealed)] == [
        '{"cart":1}',
        "",
        "nul \0 half \ud800 \U0001f36a",
        "x",
    ]


# --- erased -----------------------------------------------------------------------------


def rows(codec: Codec, records: list[Recorded]) -> dict[str, str]:
    """Fold as a query table does: the row of a stream is the name that is known of it."""

    def apply(table: dict[str, str], event: Event) -> dict[str, str]:
        match event.value:
            case Joined(_, _, Erased()):
                return table | {event.recorded.stream: "(erased)"}
            case Joined(_, _, str(name)):
                return table | {event.recorded.stream: name}
            case _:
                return table

    return reduce(apply, map(codec.decode, records), {})


def test_a_fold_sees_the_clear_text_until_its_key_is_destroyed(
    vault: Vault, log: MemoryLog
) -> None:
    records = [
        recorded(vault, log, Joined("ada", "x", "Ada"), stream="user-1"),
        recorded(vault, log, Joined("bo", "x", "Bo"), stream="user-2"),
    ]
    codec = CODEC.opening(vault.open_all)
    before = rows(codec, records)

    log.merge_keys([Key("ada", None, 1)])

    assert before == {"user-1": "Ada", "user-2": "Bo"}
    assert rows(codec, records) == {"user-1": "(erased)", "user-2": "Bo"}
    assert rows(CODEC, records) == {}


def test_nothing_is_sealed_for_a_subject_that_was_erased(vault: Vault, log: MemoryLog) -> None:
    record = recorded(vault, log, Joined("ada", "secret", "Ada"))
    log.merge_keys([Key("ada", None, 1)])

    with pytest.raises(KeyErased, match="ada"):
        recorded(vault, log, Joined("ada", "secret", "Ada"))

    [event] = decoded(CODEC, record)
    assert vault.open(event.password) is ERASED


def test_a_history_is_opened_as_events_are(vault: Vault, log: MemoryLog) -> None:
    codec = CODEC.opening(vault.open_all)
    given = [Joined("ada", "x", "Ada", mail="a@b"), Left("ada"), Joined("bo", "x", "Bo")]
    sealing = vault.sealing(STREAM, COMMAND)
    events = tuple(CODEC.encode(value, b"{}") for value in sealing.seal(given))
    keys = tuple(sealing.keys.values())
    log.append([Command(COMMAND, (Write(STREAM, 0, events),), keys=keys)])

    history = codec.decode_history(STREAM, log.history(STREAM))

    [ada, left, bo] = (past.value for past in history)
    assert isinstance(ada, Joined)
    assert isinstance(bo, Joined)
    assert [(each.name, each.mail) for each in (ada, bo)] == [("Ada", "a@b"), ("Bo", None)]
    assert isinstance(bo.password, Sealed)
    assert vault.open(bo.password) == "x"
    assert left == Left("ada")
    with pytest.raises(WrongVaultKey):
        codec.decode_history("user-2", log.history(STREAM))


# --- bound to its place -----------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        ("user-2", COMMAND, 0, "password"),
        (STREAM, "command 2", 0, "password"),
        (STREAM, COMMAND, 1, "password"),
        (STREAM, COMMAND, 0, "name"),
    ],
    ids=["stream", "command", "number", "field"],
)
def test_a_box_that_was_moved_does_not_open(
    vault: Vault, log: MemoryLog, place: tuple[str, str, int, str]
) -> None:
    [event] = decoded(CODEC, recorded(vault, log, Joined("ada", "secret", "Ada")))

    with pytest.raises(WrongVaultKey):
        vault.open(replace(event.password, place=place))

    assert vault.open(event.password) == "secret"


@pytest.mark.parametrize("text", ["", "a", "AAAA", "é", "=" * 9])
def test_a_box_that_holds_something_else_does_not_open(
    vault: Vault, log: MemoryLog, text: str
) -> None:
    [event] = decoded(CODEC, recorded(vault, log, Joined("ada", "secret", "Ada")))

    with pytest.raises(WrongVaultKey):
        vault.open(replace(event.password, box=text))


def test_a_box_does_not_open_for_another_subject_even_with_the_same_key(
    vault: Vault, log: MemoryLog
) -> None:
    [event] = decoded(CODEC, recorded(vault, log, Joined("ada", "secret", "Ada")))
    log.merge_keys([vault.wrap("bo", vault.key("ada") or b"")])

    with pytest.raises(WrongVaultKey):
        vault.open(replace(event.password, subject="bo"))

    assert vault.key("bo") == vault.key("ada")


def test_a_wrapped_key_does_not_serve_another_subject(vault: Vault, log: MemoryLog) -> None:
    recorded(vault, log, Joined("ada", "secret", "Ada"))
    [key] = log.keys(["ada"])
    log.merge_keys([Key("bo", key.wrapped)])

    with pytest.raises(WrongVaultKey):
        vault.key("bo")


@pytest.mark.parametrize("box", ["", "AAAA", b64encode(bytes(40)).decode()])
def test_a_box_that_is_damaged_does_not_open(vault: Vault, log: MemoryLog, box: str) -> None:
    [event] = decoded(CODEC, recorded(vault, log, Joined("ada", "secret", "Ada")))

    with pytest.raises(WrongVaultKey):
        vault.open(replace(event.password, box=box))


# --- the vault's own key ----------------------------------------------------------------


def test_a_key_is_given_in_hex_or_base64() -> None:
    key = bytes(range(200, 232))
    spelled = [key.hex(), key.hex().upper(), b64encode(key).decode(), f" {key.hex()}\n"]

    assert [GivenKey(text).read() for text in spelled] == [key] * 4
    assert [GivenKey(text).make() for text in spelled] == [key] * 4
    assert key.hex() not in repr(GivenKey(key.hex()))


@pytest.mark.parametrize(
    "text",
    ["", "secret", OWN[2:], OWN + "5a", "xy" * 32, "é" * 64, b64encode(bytes(31)).decode()],
)
def test_a_key_of_another_form_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(WrongVaultKey, match="32 bytes in hex or base64") as refusal:
        GivenKey(text).read()

    assert not text or text not in str(refusal.value)


def test_another_key_opens_nothing_and_seals_nothing(log: MemoryLog, vault: Vault) -> None:
    [event] = decoded(CODEC, recorded(vault, log, Joined("ada", "secret", "Ada")))
    before = log.keys()
    other = Vault(log, GivenKey(ANOTHER))

    for attempt in (
        lambda: other.open(event.password),
        lambda: recorded(other, log, Joined("bo", "secret", "Bo")),
        lambda: other.blind("name", "ada"),
    ):
        with pytest.raises(WrongVaultKey):
            attempt()

    assert log.keys() == before


def test_without_a_key_nothing_is_sealed_or_opened(log: MemoryLog, vault: Vault) -> None:
    empty = MemoryLog()
    [event] = decoded(CODEC, recorded(vault, log, Joined("ada", "secret", "Ada")))

    with pytest.raises(NoVaultKey, match="set REFOLD_VAULT_KEY"):
        recorded(Vault(empty, NoKey()), empty, Joined("ada", "secret", "Ada"))
    with pytest.raises(NoVaultKey, match="REFOLD_VAULT_KEY is not set"):
        Vault(log, NoKey()).open(event.password)

    assert empty.keys() == []


def test_postgresql_asks_for_a_key_when_something_is_sealed_and_not_before(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFOLD_VAULT_KEY", raising=False)

    with open_store(postgres_url, create=True) as store:
        assert show_session(store, "sid") is None
        assert list(list_sessions(store)) == []
        with pytest.raises(NoVaultKey, match="set REFOLD_VAULT_KEY"):
            put(store)
        assert store.log.page(0, 0, 1) == []
        assert store.log.keys() == []

    monkeypatch.setenv("REFOLD_VAULT_KEY", OWN)
    with open_store(postgres_url) as store:
        put(store)
    assert_key_is_missed(postgres_url, monkeypatch)


def test_a_sqlite_store_whose_key_file_is_gone_says_so_and_makes_no_other(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(url, create=True) as store:
        put(store)
    kept = (tmp_path / "store.db-vault-key").rename(tmp_path / "elsewhere").read_text()

    assert_key_is_missed(url, monkeypatch)

    assert not (tmp_path / "store.db-vault-key").exists()
    monkeypatch.setenv("REFOLD_VAULT_KEY", kept)
    with open_store(url) as store:
        found = show_session(store, "sid")
    assert found is not None
    assert found.body == "body"


def assert_key_is_missed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither without a key nor with another one is anything opened or written."""
    for key, failure in (("", NoVaultKey), (ANOTHER, WrongVaultKey)):
        if key:
            monkeypatch.setenv("REFOLD_VAULT_KEY", key)
        else:
            monkeypatch.delenv("REFOLD_VAULT_KEY", raising=False)
        with open_store(url) as store:
            before = store.log.heads(), store.log.keys()
            for attempt in (
                lambda: show_session(store, "sid"),
                lambda: list(list_sessions(store)),
                lambda: put(store),
            ):
                with pytest.raises(failure):
                    attempt()
            assert (store.log.heads(), store.log.keys()) == before
    monkeypatch.delenv("REFOLD_VAULT_KEY")


# --- a generated key --------------------------------------------------------------------


def test_a_generated_key_is_for_its_owner_alone_and_made_only_when_needed(
    url: str, tmp_path: Path
) -> None:
    path = tmp_path / "store.db-vault-key"
    before = os.umask(0)
    try:
        with open_store(url, create=True) as store:
            list(list_sessions(store))
            unneeded = path.exists()
            put(store)
    finally:
        os.umask(before)

    assert not unneeded
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(KeyFile(path).read()) == 32
    assert not list(tmp_path.glob(".refold-*"))


def test_a_file_that_holds_no_key_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("not a key")

    for read in (KeyFile(path).read, KeyFile(path).make):
        with pytest.raises(WrongVaultKey, match=f"{path} does not hold 32 bytes"):
            read()

    assert path.read_text() == "not a key"


MAKE = """
import sys
from pathlib import Path
from refold.infrastructure.vault_key import KeyFile
sys.stdin.readline()
print(KeyFile(Path(sys.argv[1])).make().hex())
"""


def test_of_many_processes_that_need_a_key_one_makes_it(tmp_path: Path) -> None:
    path = tmp_path / "key"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()

    made = {process.communicate(timeout=60)[0] for process in processes}

    assert made == {path.read_text()}
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


def test_many_stores_that_open_at_once_share_one_key_and_one_secret(url: str) -> None:
    open_store(url, create=True).close()
    stores = [open_store(url) for _ in range(4)]

    blinded = {store.vault.blind("name", "ada") for store in stores}

    assert len(blinded) == 1
    for store in stores:
        store.close()


# --- personal claims --------------------------------------------------------------------


def test_texts_that_mean_the_same_are_claimed_as_one(vault: Vault) -> None:
    spelled = ["Zoë", "zoë", "ZOË", "Zoe\u0308", "ZOE\u0308"]

    assert {vault.blind("name", each) for each in spelled} == {vault.blind("name", "zoë")}
    assert vault.blind("name", "Straße") == vault.blind("name", "STRASSE")


@given(st.text(st.characters(codec="utf-8", max_codepoint=0x24F)))
def test_the_form_and_the_case_of_a_text_make_no_other_claim(text: str) -> None:
    vault = VAULT
    spelled = [unicodedata.normalize(form, text) for form in ("NFC", "NFD")]

    assert len({vault.blind("mail", each) for each in [text, *spelled]}) == 1


VAULT = Vault(MemoryLog(), KeyInMemory())


def test_what_is_claimed_tells_nothing_and_differs_by_kind_value_and_store(
    vault: Vault, log: MemoryLog
) -> None:
    again, elsewhere = Vault(log, GivenKey(OWN)), Vault(MemoryLog(), GivenKey(OWN))

    blinded = vault.blind("name", "ada")

    assert len(bytes.fromhex(blinded)) == 32
    assert again.blind("name", "ada") == blinded
    others = [
        vault.blind("mail", "ada"),
        vault.blind("name", "bo"),
        vault.blind("name\0a", "da"),
        elsewhere.blind("name", "ada"),
    ]
    assert len({blinded, *others}) == 5


# --- comparing --------------------------------------------------------------------------


def test_a_digest_tells_every_key_and_whether_it_is_erased() -> None:
    keys = [Key("a", b"1"), Key("b", b"2")]
    others: list[list[Key]] = [
        [],
        keys[:1],
        [Key("a", b"1"), Key("b", b"3")],
        [Key("a", b"1"), Key("c", b"2")],
        [Key("a", b"1"), Key("b", None, 1)],
        [Key("a", b"1"), Key("b", b"")],
    ]

    digests = {digest(each) for each in [keys, *others]}

    assert digest(list(keys)) in digests
    assert len(digests) == len(others) + 1


# ------------------------------------------------------------------------------------


def recorded(vault: Vault, log: MemoryLog, value: object, stream: str = STREAM) -> Recorded:
    """Seal and encode `value`, and keep its key, as an append does."""
    sealing = vault.sealing(stream, COMMAND)
    [sealed] = sealing.seal([value])
    log.merge_keys(list(sealing.keys.values()))
    event: NewEvent = CODEC.encode(sealed, b"{}")
    return Recorded(0, 1, stream, 1, *_fields(event), 1, COMMAND, 0)


def _fields(event: NewEvent) -> tuple[str, int, bytes, bytes]:
    return event.type, event.schema, event.data, event.metadata


def decoded(codec: Codec, *records: Recorded) -> list[Any]:
    return [codec.decode(record).value for record in records]


def put(store: Store) -> None:
    data = {"sid": "sid", "body": "body", "expires_at": "2990-01-01T00:00:00Z"}
    commands.run(store, "session.set", data, command_id=os.urandom(8).hex(), actor="ada")
