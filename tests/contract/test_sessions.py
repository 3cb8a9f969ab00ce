"""Sessions on every store: found by an id that is kept nowhere, and gone when they are over."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Barrier
from time import sleep, time_ns
from uuid import uuid4

import pytest

from refold.domain import session, times
from refold.domain.errors import BadInput, KeyErased
from refold.domain.ports import Recorded, State
from refold.domain.sealing import ERASED
from refold.domain.texts import NotASha256
from refold.domain.times import NotATime
from refold.infrastructure import commands
from refold.infrastructure.commands import Done
from refold.infrastructure.open import open_store
from refold.infrastructure.services.sessions import (
    SessionView,
    list_sessions,
    purge,
    show_session,
)
from refold.infrastructure.store import Store
from refold.projections import sessions

SID, BODY = "s:4b1d.Zk", '{"cookie":{"path":"/"},"passport":{"user":"ada"}}'
STREAM = f"session-{sha256(SID.encode()).hexdigest()}"
LATER, MUCH_LATER, PAST = "2990-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "2020-01-01T00:00:00Z"


pytestmark = pytest.mark.usefixtures("vault_key")


# --- from set to end --------------------------------------------------------------------


def test_a_session_is_found_by_its_id(store: Store) -> None:
    done = put(store, user="ada", read_only=True)

    assert (done.outcome, done.stream) == ("appended", STREAM)
    assert show_session(store, SID) == SessionView(
        STREAM.removeprefix("session-"), "ada", LATER, True, BODY
    )


def test_an_id_that_was_never_set_finds_nothing(store: Store) -> None:
    put(store)

    assert show_session(store, "another") is None
    assert show_session(store, SID.upper()) is None
    assert show_session(store, "") is None


def test_a_change_replaces_body_expiry_user_and_what_its_holder_may_do(store: Store) -> None:
    put(store, read_only=True)

    put(store, "changed", expires_at=MUCH_LATER, user="ada")

    assert show_session(store, SID) == SessionView(
        STREAM.removeprefix("session-"), "ada", MUCH_LATER, False, "changed"
    )
    assert [type(each) for each in values(store)] == [session.Started, session.Changed]


def test_what_was_in_a_session_is_gone_when_another_user_has_it(store: Store) -> None:
    put(store, user="ada")
    [adas] = values(store)

    put(store, "of bo", user="bo")

    assert show_session(store, SID) == SessionView(
        STREAM.removeprefix("session-"), "bo", LATER, False, "of bo"
    )
    assert [each.body for each in list_sessions(store)] == ["of bo"]
    assert store.vault.open(adas.body) is ERASED  # type: ignore[attr-defined]
    assert [key.wrapped is None for key in store.log.keys([STREAM, f"{STREAM}#2"])] == [True, False]
    put(store, "of nobody")
    assert show(store) == "of nobody"
    assert [key.wrapped for key in store.log.keys([f"{STREAM}#2"])] == [None]


def test_a_session_that_has_ended_is_not_found_and_its_key_is_destroyed(store: Store) -> None:
    put(store)
    before = int(time_ns() // 1_000)

    done = ask(store, "session.end")

    assert done.outcome == "appended"
    assert show_session(store, SID) is None
    assert list(list_sessions(store)) == []
    [key] = store.log.keys([STREAM])
    assert key.wrapped is None
    assert before <= (key.erased_at or 0) <= time_ns() // 1_000


@pytest.mark.parametrize("name", ["session.end", "session.touch"])
def test_what_is_over_or_was_never_there_does_not_change(store: Store, name: str) -> None:
    data = {"expires_at": MUCH_LATER} if name == "session.touch" else {}

    never = ask(store, name, **data)
    put(store)
    ask(store, "session.end")
    over = ask(store, name, **data)

    assert (never.outcome, never.version) == ("unchanged", 0)
    assert (over.outcome, over.version) == ("unchanged", 2)


def test_a_session_set_again_after_its_end_has_a_new_key(store: Store) -> None:
    for body in ("first", "second", "third"):
        put(store, body)
        ask(store, "session.end")
    put(store, "fourth")

    keys = {key.subject: key.wrapped is None for key in store.log.keys()}

    assert show(store) == "fourth"
    assert [each.body for each in list_sessions(store)] == ["fourth"]
    del keys["~vault"]
    assert keys == {STREAM: True, f"{STREAM}#2": True, f"{STREAM}#3": True, f"{STREAM}#4": False}


def test_nothing_is_sealed_for_an_erased_subject_again(store: Store) -> None:
    put(store)
    ask(store, "session.end")

    with pytest.raises(KeyErased):
        list(store.vault.sealing(STREAM, "new").seal([session.Started(STREAM, "", 0)]))


def test_a_command_that_is_asked_again_is_done_once(store: Store) -> None:
    first = ask(store, "session.set", "1", body=BODY, expires_at=LATER)
    ask(store, "session.end", "2")

    again = ask(store, "session.set", "1", body=BODY, expires_at=LATER)

    assert (again.outcome, again.version) == ("duplicate", first.version)
    assert show_session(store, SID) is None


@pytest.mark.parametrize("name", ["session.set", "session.touch"])
def test_an_expiry_that_has_no_text_in_utc_is_refused(store: Store, name: str) -> None:
    put(store)
    data = {"body": BODY} if name == "session.set" else {}

    with pytest.raises(NotATime, match="1 and 9999"):
        ask(store, name, expires_at="9999-12-31T23:59:59-01:00", **data)

    assert len(values(store)) == 1
    assert len(list(list_sessions(store))) == 1


def test_an_id_that_is_given_for_its_hash_is_not_kept(store: Store) -> None:
    with pytest.raises(NotASha256):
        commands.run(store, "session.expire", {"hash": SID}, command_id="expire", actor="web")

    assert store.log.heads()[0].position == 0


def test_who_sets_and_who_ends_at_once_both_get_an_answer(store: Store) -> None:
    line_up = Barrier(2, timeout=30)

    def repeat(name: str, **data: object) -> list[str]:
        outcomes: list[str] = []
        for _ in range(15):
            line_up.wait()
            outcomes.append(ask(store, name, **data).outcome)
        return outcomes

    with ThreadPoolExecutor(2) as pool:
        sets = pool.submit(repeat, "session.set", body=BODY, expires_at=LATER)
        ends = pool.submit(repeat, "session.end")
        assert sets.result() == ["appended"] * 15
        assert set(ends.result()) <= {"appended", "unchanged"}

    state = session.after(*values(store))  # type: ignore[arg-type]
    assert show(store) == (BODY if state.subject else None)
    alive = {key.subject for key in store.log.keys() if key.wrapped is not None} - {"~vault"}
    assert alive == ({state.subject} if state.subject else set())


@pytest.mark.parametrize(
    "body",
    ["", "nul \0 nul", "half \ud800", "\U0001f36a é \u2028", "x" * 700_000, "'\"\\\n%s{}"],
    ids=["empty", "nul", "surrogate", "emoji", "700 kB", "quotes"],
)
def test_a_body_comes_back_as_it_was_set(store: Store, body: str) -> None:
    put(store, body)

    assert show(store) == body
    assert [each.body for each in list_sessions(store)] == [body]


def test_an_id_may_be_any_text(store: Store) -> None:
    sids = ["", " ", "\0", "é", "e\u0301", "\ud800", "a/b%-~", "x" * 5_000]

    for number, sid in enumerate(sids):
        put(store, f"{number}", sid=sid)

    assert [show(store, sid) for sid in sids] == [f"{number}" for number in range(len(sids))]


@pytest.mark.parametrize("field", ["body", "sid"])
@pytest.mark.parametrize("value", [1, None, b"secret", ["secret"]], ids=repr)
def test_a_malformed_field_is_named_and_not_shown(store: Store, field: str, value: object) -> None:
    data = {"sid": "secret", "body": "secret", "expires_at": LATER, field: value}

    with pytest.raises(BadInput, match=f"session.set: {field}: ") as refusal:
        commands.run(store, "session.set", data, command_id="1", actor="ada")

    assert "secret" not in str(refusal.value)
    assert store.log.page(0, 0, 1) == []


# --- touching ---------------------------------------------------------------------------


def test_a_touch_moves_the_expiry_and_nothing_else(store: Store) -> None:
    put(store, user="ada", read_only=True)

    done = ask(store, "session.touch", expires_at=MUCH_LATER)

    assert done.outcome == "appended"
    hash = STREAM.removeprefix("session-")
    assert show_session(store, SID) == SessionView(hash, "ada", MUCH_LATER, True, BODY)
    assert list(list_sessions(store)) == [show_session(store, SID)]


@pytest.mark.parametrize(
    ("step", "expires_at", "outcome"),
    [
        (None, "2990-01-01T00:00:59.999999Z", "unchanged"),
        (None, "2990-01-01T00:01:00Z", "appended"),
        (None, "2989-12-31T23:59:00Z", "appended"),
        ("0.5", "2990-01-01T00:00:00.499999Z", "unchanged"),
        ("0.5", "2990-01-01T00:00:00.5Z", "appended"),
        ("0", "2990-01-01T00:00:00.000001Z", "appended"),
        ("0", LATER, "unchanged"),
    ],
)
def test_a_touch_by_less_than_the_configured_step_is_no_event(
    new_store: Callable[[], Store],
    monkeypatch: pytest.MonkeyPatch,
    step: str | None,
    expires_at: str,
    outcome: str,
) -> None:
    if step is not None:
        monkeypatch.setenv("REFOLD_SESSION_TOUCH_SECONDS", step)
    store = new_store()
    put(store)
    monkeypatch.setenv("REFOLD_SESSION_TOUCH_SECONDS", "-1")  # what is said later, nobody reads

    done = ask(store, "session.touch", expires_at=expires_at)

    assert done.outcome == outcome
    assert len(store.log.stream(STREAM)) == (2 if outcome == "appended" else 1)


@pytest.mark.parametrize(
    ("lifetime", "later", "outcome"),
    [
        (20, 1, "unchanged"),  # less than a tenth of what it has
        (20, 3, "appended"),
        (600, 59, "unchanged"),
        (600, 61, "appended"),
        (43_200, 59, "unchanged"),
        (43_200, 61, "appended"),
    ],
)
def test_the_step_of_a_short_session_is_a_tenth_of_what_it_has(
    store: Store, lifetime: int, later: int, outcome: str
) -> None:
    expires_at = time_ns() // 1_000 + lifetime * 1_000_000
    put(store, expires_at=times.text(expires_at))

    done = ask(store, "session.touch", expires_at=times.text(expires_at + later * 1_000_000))

    assert done.outcome == outcome


def test_a_session_of_a_second_lives_as_long_as_it_is_used(store: Store) -> None:
    put(store, expires_at=in_a_second())

    for _ in range(7):
        sleep(0.2)
        assert show_session(store, SID)
        ask(store, "session.touch", expires_at=in_a_second())
    sleep(1.1)

    assert show_session(store, SID) is None


# --- expiry -----------------------------------------------------------------------------


def test_a_session_whose_time_has_passed_is_never_returned(store: Store) -> None:
    put(store, expires_at=PAST)

    assert show_session(store, SID) is None
    assert list(list_sessions(store)) == []
    assert ask(store, "session.touch", expires_at=LATER).outcome == "unchanged"


def test_a_session_expires_by_the_clock_on_the_wall_while_the_log_stands_still(
    store: Store,
) -> None:
    expiry = time_ns() // 1_000 + 300_000
    put(store, expires_at=times.text(expiry))

    sleep(max(0.0, expiry / 1e6 - time_ns() / 1e9) + 0.01)

    assert store.log.stream(STREAM)[-1].recorded_at < time_ns() // 1_000
    assert show_session(store, SID) is None
    assert list(list_sessions(store)) == []


def test_a_session_expires_by_the_log_where_the_clock_on_the_wall_is_behind(store: Store) -> None:
    put(store)
    put(store, "of another", sid="other", expires_at=MUCH_LATER)
    before = show(store)

    receive_event_at(store, "2995-01-01T00:00:00Z")

    assert before == BODY
    assert show_session(store, SID) is None
    assert [each.body for each in list_sessions(store)] == ["of another"]
    assert ask(store, "session.touch", expires_at=MUCH_LATER).outcome == "unchanged"
    assert purge(store) == 1
    assert show(store, "other") == "of another"


def test_a_session_that_has_expired_is_set_again_under_a_new_key(store: Store) -> None:
    put(store, "old", expires_at=PAST)

    put(store, "new")

    assert show(store) == "new"
    assert [type(each) for each in values(store)] == [
        session.Started,
        session.Expired,
        session.Started,
    ]
    assert store.log.keys([STREAM])[0].wrapped is None


def test_a_purge_ends_what_has_expired_and_nothing_else(store: Store) -> None:
    put(store, sid="old 1", expires_at=PAST)
    put(store, sid="old 2", expires_at=PAST)
    put(store, "lives")
    put(store, sid="ended", expires_at=PAST)
    ask(store, "session.end", sid="ended")

    counts = [purge(store), purge(store)]

    assert counts == [2, 0]
    assert [each.body for each in list_sessions(store)] == ["lives"]
    assert len(rows(store)) == 1
    assert [type(each) for each in values(store, "old 1")] == [session.Started, session.Expired]
    wrapped = {key.subject for key in store.log.keys() if key.wrapped is not None}
    assert wrapped == {"~vault", STREAM}


def test_a_session_that_lives_cannot_be_expired(store: Store) -> None:
    put(store)
    hash = STREAM.removeprefix("session-")

    done = commands.run(store, "session.expire", {"hash": hash}, command_id="x", actor="ada")

    assert done.outcome == "unchanged"
    assert show(store) == BODY


# --- listing ----------------------------------------------------------------------------


def test_a_list_has_bodies_in_the_order_of_hashes_and_no_ids(store: Store) -> None:
    sids = [f"id {number}" for number in range(9)]
    for sid in sids:
        put(store, f"body of {sid}", sid=sid, user=sid.upper())

    listed = list(list_sessions(store))

    assert [each.hash for each in listed] == sorted(
        sha256(sid.encode()).hexdigest() for sid in sids
    )
    assert {each.body for each in listed} == {f"body of {sid}" for sid in sids}
    assert not [sid for sid in sids if any(sid in (each.hash, each.user) for each in listed)]


def test_query_tables_hold_no_body(store: Store) -> None:
    put(store, "a body that is secret")
    list(list_sessions(store))

    [row] = rows(store)

    assert row[0] == STREAM.removeprefix("session-")
    assert "secret" not in str(row)
    assert SID not in str(row)


def test_a_rebuild_opens_nothing_and_loses_nothing(store: Store) -> None:
    put(store, sid="ended")
    ask(store, "session.end", sid="ended")
    put(store)
    before = list(list_sessions(store))

    store.rebuilder.rebuild([sessions])

    assert list(list_sessions(store)) == before
    assert len(before) == 1


# --- other processes --------------------------------------------------------------------

IN_ANOTHER_PROCESS = """
import json, sys
from refold.infrastructure import commands
from refold.infrastructure.open import open_store
from refold.infrastructure.services.sessions import show_session
url, sid, body, expires_at = sys.argv[1:]
with open_store(url) as store:
    found = show_session(store, sid)
    print(json.dumps(found and found.body))
    data = {"sid": sid, "body": body, "expires_at": expires_at}
    commands.run(store, "session.set", data, command_id="theirs", actor="them")
"""


@pytest.mark.parametrize("given", [True, False], ids=["given key", "generated key"])
def test_a_session_survives_a_restart_and_two_processes_share_it(
    new_kept_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch, *, given: bool
) -> None:
    url = new_kept_url()
    if not given and url.startswith("sqlite"):  # the other has no place for a key of its own
        monkeypatch.delenv("REFOLD_VAULT_KEY")
    with open_store(url, create=True) as store:
        put(store)

    with open_store(url) as store:
        after_restart = show(store)
        theirs = subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS, url, SID, "theirs", LATER],
            env=os.environ.copy(),
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

        assert after_restart == BODY
        assert json.loads(theirs) == BODY
        assert show(store) == "theirs"
        assert [each.body for each in list_sessions(store)] == ["theirs"]


def ask(store: Store, name: str, command_id: str | None = None, /, **data: object) -> Done:
    data = {"sid": SID, **data}
    return commands.run(store, name, data, command_id=command_id or uuid4().hex, actor="ada")


def put(store: Store, body: str = BODY, /, **data: object) -> Done:
    return ask(store, "session.set", **{"body": body, "expires_at": LATER, **data})


def show(store: Store, sid: str = SID) -> str | None:
    found = show_session(store, sid)
    return found.body if found else None


def values(store: Store, sid: str = SID) -> Sequence[object]:
    return [each.value for each in store.history(f"session-{sha256(sid.encode()).hexdigest()}")]


def rows(store: Store) -> list[tuple[object, ...]]:
    with store.tables.reading() as connection:
        generation = store.tables.current(connection)[sessions.NAME]
        return [tuple(row) for row in store.tables.rows.scan(connection, generation)]


def receive_event_at(store: Store, time: str) -> None:
    """Let the store take over an event from another whose clock was ahead."""
    [head] = store.log.change_state(State.FILLING)
    at = times.micros(time)
    record = Recorded(
        0, head.position + 1, "clock-ahead", 1, "clock.ahead", 1, b"{}", b"{}", at, "ahead", 0
    )
    store.log.receive([record])
    store.log.change_state(State.OPEN)


def in_a_second() -> str:
    return times.text(time_ns() // 1_000 + 1_000_000)
