"""Sessions as express-session keeps them: on every engine, in two processes, after a restart."""

import json
import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Any, Final

import pytest

from refold.domain.errors import BadInput, Unavailable, WrongVaultKey
from refold.infrastructure import patience
from refold.infrastructure.codec import NotStorable
from refold.infrastructure.open import open_store
from refold.infrastructure.services.sessions import list_sessions
from refold.infrastructure.store import Store
from refold.infrastructure.systems.express_sessions import SessionStore

SID: Final = "Zk3vQmTq0n5sid"
ALIVE_AFTER_A_RESTART: Final = (
    "import sys, json;"
    "from refold.infrastructure.open import open_store;"
    "from refold.infrastructure.systems.express_sessions import SessionStore;"
    "sessions = SessionStore(open_store(sys.argv[1]));"
    "print(json.dumps(sessions.get(sys.argv[2])));"
    "sessions.set('from there', {'cookie': {}, 'passport': {'user': 'bob'}});"
    "sessions.destroy(sys.argv[2])"
)


@pytest.fixture
def sessions(store: Store) -> SessionStore:
    return SessionStore(store)


# --- get, set, destroy ------------------------------------------------------------


def test_a_session_comes_back_as_it_was_set(sessions: SessionStore) -> None:
    odd = session(cart=[1, 2.5, None], text="\0\u2028\ud800", nested={"": {"ü": True}})

    sessions.set(SID, odd)

    assert sessions.get(SID) == odd


def test_an_id_that_was_never_set_finds_nothing(sessions: SessionStore) -> None:
    sessions.set(SID, session())

    assert [sessions.get(sid) for sid in ("", "x", SID.lower(), "\0", "\ud800")] == [None] * 5


def test_a_session_that_is_set_again_is_replaced(sessions: SessionStore) -> None:
    sessions.set(SID, session(cart=1))
    sessions.set(SID, session(seen=2))

    assert sessions.get(SID) == session(seen=2)
    assert sessions.length() == 1


def test_a_session_that_was_destroyed_is_gone(sessions: SessionStore) -> None:
    sessions.set(SID, session())
    sessions.set("other", session())

    sessions.destroy(SID)
    sessions.destroy(SID)
    sessions.destroy("never set")

    assert sessions.get(SID) is None
    assert sessions.length() == 1


def test_a_session_may_begin_again_under_the_same_id(sessions: SessionStore) -> None:
    sessions.set(SID, session(n=1))
    sessions.destroy(SID)

    sessions.set(SID, session(n=2))

    assert sessions.get(SID) == session(n=2)


@pytest.mark.parametrize(
    ("passport", "owner"),
    [
        ({"user": "alice"}, "alice"),
        ({"user": {"username": "alice", "mail": "a@b.c"}}, None),
        ({}, None),
        (None, None),
        ("odd", None),
    ],
)
def test_who_is_logged_in_is_known_where_it_is_a_name(
    store: Store, sessions: SessionStore, passport: object, owner: str | None
) -> None:
    sessions.set(SID, {**session(), "passport": passport})

    assert [each.user for each in list_sessions(store)] == [owner]
    assert (sessions.get(SID) or {})["passport"] == passport


# --- expiry -----------------------------------------------------------------------


def test_a_session_is_hidden_once_its_time_is_over(sessions: SessionStore) -> None:
    sessions.set(SID, session(seconds=0.5))
    sessions.set("over", session(seconds=-1))
    assert sessions.get(SID) is not None

    sleep(0.6)

    assert sessions.get(SID) is sessions.get("over") is None
    assert (sessions.all(), sessions.length()) == ([], 0)


def test_a_cookie_that_does_not_expire_gives_a_session_some_hours(store: Store) -> None:
    sessions = SessionStore(store, hours=3)

    sessions.set(SID, {"cookie": {"expires": None}})
    sessions.set("no cookie", {})

    for each in list_sessions(store):
        left = datetime.fromisoformat(each.expires_at) - datetime.now(UTC)
        assert timedelta(hours=2.9) < left <= timedelta(hours=3)


def test_a_touch_moves_the_expiry_and_nothing_else(sessions: SessionStore) -> None:
    first = session(seconds=1)
    sessions.set(SID, first)

    sessions.touch(SID, {**session(seconds=3_600), "passport": {"user": "mallory"}})
    sleep(1.1)

    assert sessions.get(SID) == first


def test_a_short_session_lives_as_long_as_it_is_touched(sessions: SessionStore) -> None:
    first = session(seconds=1)
    sessions.set(SID, first)

    for _ in range(7):
        sleep(0.2)
        assert sessions.get(SID) == first
        sessions.touch(SID, session(seconds=1))
    sleep(1.1)

    assert sessions.get(SID) is None


def test_a_touch_brings_no_session_to_life(sessions: SessionStore) -> None:
    sessions.set(SID, session(seconds=-1))
    sessions.touch(SID, session())
    sessions.touch("never set", session())

    assert sessions.length() == 0


@pytest.mark.parametrize("expires", [5, True, {}, "tomorrow"])
def test_an_expiry_that_is_no_time_is_refused(sessions: SessionStore, expires: object) -> None:
    with pytest.raises(BadInput):
        sessions.set(SID, {"cookie": {"expires": expires}})

    assert sessions.length() == 0


def test_what_has_no_json_is_refused_and_not_shown(sessions: SessionStore) -> None:
    with pytest.raises(NotStorable) as refusal:
        sessions.set(SID, session(secret="hunter2", odd={1, 2}))

    assert "hunter2" not in str(refusal.value)
    assert SID not in str(refusal.value)


# --- all, length, clear -------------------------------------------------------------


def test_all_sessions_are_counted_listed_and_cleared(sessions: SessionStore) -> None:
    for n in range(5):
        sessions.set(f"sid-{n}", session(n=n))
    sessions.set("over", session(seconds=-1))
    sessions.destroy("sid-4")

    assert sessions.length() == 4
    assert sorted(each["n"] for each in sessions.all()) == [0, 1, 2, 3]
    sessions.clear()

    assert (sessions.length(), sessions.all(), sessions.get("sid-0")) == (0, [], None)
    sessions.set("sid-0", session())
    assert sessions.length() == 1


# --- restarts and processes -----------------------------------------------------------


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_sessions_survive_a_restart_and_are_shared_by_two_processes(url: str) -> None:
    with open_store(url, create=True) as store:
        SessionStore(store).set(SID, session(n=1))
    with open_store(url) as restarted:
        sessions = SessionStore(restarted)
        assert sessions.get(SID) == session(n=1)

        other = subprocess.run(
            [sys.executable, "-c", ALIVE_AFTER_A_RESTART, url, SID],
            check=True,
            capture_output=True,
            timeout=60,
        )

        assert json.loads(other.stdout) == session(n=1)
        assert sessions.get(SID) is None
        assert (sessions.get("from there") or {})["passport"] == {"user": "bob"}


def test_sessions_do_not_start_on_a_server_that_is_down() -> None:
    with pytest.raises(Unavailable):
        open_store("postgresql://nobody@127.0.0.1:1/nowhere?connect_timeout=2", create=True)


def test_sessions_do_not_start_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        open_store(f"sqlite:///{tmp_path}/nowhere/store.db", create=True)


def test_a_server_that_stays_away_is_an_error_and_nothing_is_kept_in_memory(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    monkeypatch.setenv("REFOLD_POOL_SILENT_SECONDS", "0.2")
    monkeypatch.setattr(patience, "SECONDS", 0.1)
    with open_store(postgres_url, create=True) as store:
        sessions = SessionStore(store)
        store.log.close()

        with pytest.raises(Unavailable):
            sessions.get(SID)
        with pytest.raises(Unavailable):
            sessions.set(SID, session())
        with pytest.raises(Unavailable):
            SessionStore(store)


@pytest.mark.parametrize("url", ["sqlite", "postgres"], indirect=True)
def test_a_store_without_its_own_key_is_not_ready(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(url, create=True) as store:
        SessionStore(store).set(SID, session())
    monkeypatch.setenv("REFOLD_VAULT_KEY", "a5" * 32)

    with open_store(url) as store, pytest.raises(WrongVaultKey):
        SessionStore(store)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_neither_ids_nor_what_is_in_sessions_is_on_disk(url: str, tmp_path: Path) -> None:
    sid, secret = secrets.token_hex(16), secrets.token_hex(16)
    with open_store(url, create=True) as store:
        sessions = SessionStore(store)
        sessions.set(sid, session(token=secret))
        sessions.touch(sid, session(seconds=7_200))
        assert sessions.length() == 1

        written = b"".join(each.read_bytes() for each in tmp_path.iterdir() if each.is_file())

    assert sid.encode() not in written
    assert secret.encode() not in written


def session(*, seconds: float = 3_600, **fields: object) -> dict[str, Any]:
    """A session whose cookie expires so many seconds after the tests began, or after now."""
    since = datetime.now(UTC) if seconds < 60 else BEGAN
    expires = (since + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")
    cookie = {
        "originalMaxAge": 43_200_000,
        "expires": expires.replace("+00:00", "Z"),
        "secure": False,
        "httpOnly": True,
        "path": "/",
    }
    return {"cookie": cookie, "passport": {"user": "alice"}, **fields}


BEGAN: Final = datetime.now(UTC)
