"""A copy and a move carry the keys of sealed fields, and say so when they are not the same."""

import io
import json
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from refold.domain.errors import NoVaultKey, WrongVaultKey
from refold.domain.ports import Key, State
from refold.infrastructure import address, commands
from refold.infrastructure.moving.certificate import Certificate
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.cutover import move
from refold.infrastructure.moving.verifying import compare
from refold.infrastructure.open import open_store
from refold.infrastructure.services.sessions import list_sessions, show_session
from refold.infrastructure.sqlite.connection import connect
from refold.infrastructure.store import Store
from refold.infrastructure.vault import digest
from refold.scripts import cli
from refold.tests.addresses import in_schema

Carry = Callable[[Store, Store], Certificate]
Open = Callable[..., Store]

OWN, ANOTHER = "5a" * 32, "a5" * 32
both_ways = pytest.mark.parametrize("carry", [copy, move])


@pytest.fixture(autouse=True)
def vault_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that every store of a test has unless it says otherwise."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", OWN)


@pytest.fixture(params=[("sqlite", "postgres"), ("postgres", "sqlite")], ids="-".join)
def urls(request: pytest.FixtureRequest, shared_database: str, tmp_path: Path) -> list[str]:
    """Where the source and the target are."""
    return [_new_url(engine, shared_database, tmp_path) for engine in request.param]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a store, made where there is none, with the vault key that is given."""
    with ExitStack() as cleanup:

        def open(url: str, key: str | None = OWN) -> Store:
            with monkeypatch.context() as patch:
                if key is None:
                    patch.delenv("REFOLD_VAULT_KEY")
                else:
                    patch.setenv("REFOLD_VAULT_KEY", key)
                return cleanup.enter_context(open_store(url, create=True))

        yield open


@pytest.fixture
def source(urls: list[str], opened: Open) -> Store:
    """A store with a session that lives and one that has ended."""
    store = opened(urls[0])
    put(store, "lives", "its body")
    put(store, "ended", "another body")
    ask(store, "session.end", "ended")
    return store


@pytest.fixture
def target(urls: list[str], opened: Open) -> Store:
    """An empty store of the other engine."""
    return opened(urls[1])


# --- what comes along -------------------------------------------------------------------


@both_ways
def test_the_keys_come_along_and_open_what_was_sealed(
    source: Store, target: Store, carry: Carry
) -> None:
    certificate = carry(source, target)

    assert certificate.equal
    assert certificate.vault
    assert (certificate.vault.keys, certificate.vault.digest) == (3, digest(source.log.keys()))
    assert target.log.keys() == source.log.keys()
    assert show(target, "lives") == show(source, "lives") == "its body"
    assert [each.body for each in list_sessions(target)] == ["its body"]
    assert show(target, "ended") is None


def test_what_goes_on_at_the_target_of_a_move_is_sealed_with_the_same_key(
    source: Store, target: Store
) -> None:
    move(source, target)

    put(target, "lives", "set at the target")
    back = move(target, source)

    assert back.equal
    assert show(source, "lives") == "set at the target"
    assert target.vault.blind("name", "ada") == source.vault.blind("name", "ada")


def test_what_was_erased_after_a_first_copy_is_erased_by_the_second(
    source: Store, target: Store
) -> None:
    copy(source, target)
    before = show(target, "lives")

    ask(source, "session.end", "lives")
    certificate = copy(source, target)

    assert certificate.equal
    assert before == "its body"
    assert show(target, "lives") is None
    assert [key.subject for key in target.log.keys() if key.wrapped is not None] == ["~vault"]
    assert target.log.keys() == source.log.keys()


def test_a_store_without_sealed_fields_is_copied_without_a_key(
    urls: list[str], opened: Open
) -> None:
    source, target = (opened(url, key=None) for url in urls)

    certificate = copy(source, target)

    assert certificate.equal
    assert certificate.vault
    assert certificate.vault.keys == 0
    assert target.log.keys() == []


def test_a_sqlite_store_with_a_key_of_its_own_gives_it_to_its_copy(
    tmp_path: Path, opened: Open
) -> None:
    source, target = (opened(f"sqlite:///{tmp_path / name}", key=None) for name in ("a", "b"))
    put(source, "lives", "its body")

    certificate = copy(source, target)

    assert certificate.equal
    assert show(target, "lives") == "its body"
    keys = [tmp_path / "a-vault-key", tmp_path / "b-vault-key"]
    assert keys[0].read_bytes() == keys[1].read_bytes()
    assert stat.S_IMODE(keys[1].stat().st_mode) == 0o600


# --- the key is another, or not there ---------------------------------------------------


@both_ways
def test_a_target_with_another_key_is_refused_until_it_has_the_right_one(
    source: Store, urls: list[str], opened: Open, carry: Carry
) -> None:
    with pytest.raises(WrongVaultKey, match="the two stores have different vault keys"):
        carry(source, opened(urls[1], key=ANOTHER))

    assert source.log.heads()[0].state is State.OPEN
    assert is_untouched(opened(urls[1]))
    assert carry(source, opened(urls[1])).equal
    assert show(opened(urls[1]), "lives") == "its body"


def test_a_target_without_a_key_is_refused_until_it_has_one(
    shared_database: str, tmp_path: Path, opened: Open
) -> None:
    source = opened(f"sqlite:///{tmp_path / 'source'}")
    url = _new_url("postgres", shared_database, tmp_path)
    put(source, "lives", "its body")

    with pytest.raises(NoVaultKey, match="set REFOLD_VAULT_KEY"):
        copy(source, opened(url, key=None))

    assert is_untouched(opened(url))
    assert copy(source, opened(url)).equal
    assert show(opened(url), "lives") == "its body"


def test_a_source_whose_key_is_not_at_hand_is_not_copied(
    source: Store, urls: list[str], opened: Open
) -> None:
    assert show(source, "lives") == "its body"

    with pytest.raises(WrongVaultKey):
        copy(opened(urls[0], key=ANOTHER), opened(urls[1]))

    assert is_untouched(opened(urls[1]))


# --- the keys are others ----------------------------------------------------------------

TAMPERED = [
    Key("~vault", b"tampered"),
    Key("session", b"tampered"),
    Key("session", None, 1_700),
    Key("new", b"tampered"),
]


@pytest.mark.parametrize("key", TAMPERED, ids=["vault", "wrapped", "erased", "added"])
def test_a_key_that_differs_at_the_target_is_never_called_equal(
    source: Store, target: Store, key: Key
) -> None:
    copy(source, target)
    tamper(target, key)

    certificate = copy(source, target)

    assert not certificate.equal
    assert certificate.differences == ["the vaults differ"]
    assert "the vaults differ" in compare(source, target).differences


def test_a_difference_in_keys_alone_is_exit_code_3(
    source: Store,
    target: Store,
    urls: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    copied = refold(monkeypatch, capsys, "copy", *urls, "--json")
    tamper(target, Key("session", b"tampered"))

    copied_again = refold(monkeypatch, capsys, "copy", *urls, "--json")
    verified = refold(monkeypatch, capsys, "verify", *urls, "--json")

    for (code, out), expected in ((copied, 0), (copied_again, 3), (verified, 3)):
        assert code == expected
        assert json.loads(out)["equal"] is (expected == 0)
    assert source.log.heads()[0].state is State.OPEN


def refold(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[object, str]:
    """Run the command in this process, and return its exit code and what it printed."""
    monkeypatch.setattr(sys, "argv", ["refold", *arguments])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code or 0, capsys.readouterr().out


def tamper(store: Store, key: Key) -> None:
    """Put `key` into the database by hand; "session" stands for the session that lives."""
    subject = key.subject
    if subject == "session":
        [subject] = [
            each.subject
            for each in store.log.keys()
            if each.wrapped is not None and each.subject != "~vault"
        ]
    row = (subject, key.wrapped, key.erased_at)
    place = store.address
    if isinstance(place, address.Sqlite):
        connection = connect(place.path)
        connection.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", row)
        connection.close()
    elif isinstance(place, address.Postgres):
        table = Identifier(place.schema, "keys")
        with psycopg.connect(place.url) as server:
            server.execute(SQL("DELETE FROM {} WHERE subject = %s").format(table), row[:1])
            server.execute(SQL("INSERT INTO {} VALUES (%s, %s, %s)").format(table), row)


def is_untouched(store: Store) -> bool:
    """Tell whether nothing was copied here: the store is empty and takes commands."""
    [head] = store.log.heads()
    return (head.position, head.state) == (0, State.OPEN)


def put(store: Store, sid: str, body: str) -> None:
    ask(store, "session.set", sid, body=body, expires_at="2990-01-01T00:00:00Z")


def ask(store: Store, name: str, sid: str, **data: str) -> None:
    command_id = secrets.token_hex(8)
    commands.run(store, name, {"sid": sid, **data}, command_id=command_id, actor="ada")


def show(store: Store, sid: str) -> str | None:
    found = show_session(store, sid)
    return found.body if found else None


def _new_url(engine: str, database: str, folder: Path) -> str:
    name = f"t_{secrets.token_hex(6)}"
    if engine == "sqlite":
        return f"sqlite:///{folder / name}"
    return in_schema(database, name)
