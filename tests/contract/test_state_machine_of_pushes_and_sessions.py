"""One machine drives pushes, sessions, keys and blobs on all three stores, and dicts beside them.

Whatever is asked, asked again, expired, erased, deleted, folded, closed and opened or copied there
and back: the three give the same answers, and they are those of the model.
"""

import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg.sql import SQL, Identifier

from refold.domain.errors import Claimed, CommandIdTaken, Conflict, Failure, NoSuchBlob
from refold.domain.ports import Blob, Claim, Recorded
from refold.domain.positions import PARTITION
from refold.domain.push import UnknownPush
from refold.infrastructure import commands
from refold.infrastructure.codec import parse
from refold.infrastructure.commands import Done
from refold.infrastructure.moving import copying
from refold.infrastructure.open import open_store
from refold.infrastructure.services.pushes import list_pushes, show_push
from refold.infrastructure.services.sessions import SessionView, list_sessions, purge, show_session
from refold.infrastructure.store import Store
from refold.infrastructure.vault import digest
from refold.projections import catalog, pushes, sessions

STEPS: Final = 12
EVERYTHING: Final = 1_000_000


def test_pushes_and_sessions_on_three_engines_are_dicts(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)

    class Machine(ThreeStores):
        def __init__(self) -> None:
            super().__init__(postgres_url)

    examples = settings().max_examples // 4  # a copy there and back is among the steps
    run_state_machine_as_test(
        Machine, settings=settings(stateful_step_count=STEPS, max_examples=examples)
    )


# --- what is tried ----------------------------------------------------------------

IDS: Final = ("a", "b", "c")
SIDS: Final = ("s:1", "s:2")
PAST, LATER, SOON_AFTER, MUCH_LATER = (
    "2020-01-01T00:00:00Z",
    "2990-01-01T00:00:00Z",
    "2990-01-01T00:00:30Z",
    "2999-01-01T00:00:00Z",
)
STEP: Final = timedelta(minutes=1)
LONGEST: Final = 8 * 1024
TEXTS: Final = {  # drawn by name, to be legible when something fails
    "empty": "",
    "longest": "x" * LONGEST,
    "big": "x" * (LONGEST + 1),
    "bigger": "é" * LONGEST,
}

push_ids = st.sampled_from((*IDS[:1], *IDS))  # one is met more often than the others
sids = st.sampled_from((*SIDS[:1], *SIDS))
texts = st.sampled_from(sorted(TEXTS))
expected_off = st.sampled_from((None, None, 0, -1))  # -1: behind, 0: exact, None: any version
decisions = st.tuples(
    st.sampled_from(("push.authorise", "push.authorise", "push.reject", "push.cancel")),
    st.none() | texts,
    expected_off,
)
expiries = st.sampled_from((PAST, LATER, LATER, SOON_AFTER, MUCH_LATER))


def document(id: str, message: str, content: str, **flags: bool) -> dict[str, Any]:
    """Return a push as git-proxy keeps it; `_id`, its database's own, is not for us."""
    return {
        "id": id,
        "_id": 7,
        "type": "push",
        "blocked": True,
        "allowPush": False,
        "message": TEXTS[message],
        "steps": [{"content": TEXTS[content]}],
        **flags,
    }


# --- the model --------------------------------------------------------------------


@dataclass(frozen=True)
class Session:
    subject: str
    body: str
    expires_at: str
    user: str | None
    read_only: bool

    @property
    def lives(self) -> bool:
        return self.expires_at != PAST


Answer = Done | type[Failure]
Decided = tuple[list[str], Any]
"""The types of the new events, and what the stream is after them."""


@dataclass
class Dicts:
    """The simplest store: what each stream is now, who holds an id, and what each command did."""

    log: list[tuple[str, int, str]] = field(default_factory=list)
    commands: dict[str, Done] = field(default_factory=dict)
    now: dict[str, Any] = field(default_factory=dict)
    starts: Counter[str] = field(default_factory=Counter)
    holders: dict[str, str] = field(default_factory=dict)
    erased: dict[str, bool] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    referred: dict[str, bytes] = field(default_factory=dict)

    def run(self, name: str, data: dict[str, Any], command_id: str, off: int | None) -> Answer:
        stream = self.stream(data)
        first = self.commands.get(command_id)
        if first and first.stream == stream:
            return replace(first, outcome="duplicate")
        if first and not self.version(stream) and stream[:5] == first.stream[:5] == "push-":
            return replace(first, outcome="duplicate")  # the id that led there may be gone
        if off not in (None, 0):
            return Conflict
        decide = self._push if name.startswith("push.") else self._session
        decided = decide(name, stream, data)
        if isinstance(decided, type):
            return decided
        types, after = decided
        if not types:
            return Done("unchanged", stream, self.version(stream), self._position(stream))
        cut_out = {} if types == ["push.allowed"] else big_texts(data)
        self.blobs |= cut_out
        if "body" in data:
            self.erased["~vault"] = False
        if first:
            return CommandIdTaken
        if "push." in name and after and self.holders.get(after["id"], stream) != stream:
            return Claimed
        self.referred |= cut_out
        return self._keep(command_id, stream, types, after)

    def stream(self, data: Mapping[str, Any]) -> str:
        if "sid" in data or "hash" in data:
            return f"session-{data.get('hash') or hash_of(data['sid'])}"
        id = data["document"]["id"] if "document" in data else data["id"]
        return self.holders.get(id, f"push-{id}")

    def version(self, stream: str) -> int:
        return max((version for of, version, _ in self.log if of == stream), default=0)

    def _position(self, stream: str) -> int:
        positions = [at for at, (of, _, _) in enumerate(self.log, 1) if of == stream]
        return max(positions, default=0)

    def _push(self, name: str, stream: str, data: dict[str, Any]) -> Decided | type[Failure]:
        push = self.now.get(stream)
        if name == "push.delete":
            return (["push.deleted"] if push else []), None
        if name == "push.record":
            new = {key: value for key, value in data["document"].items() if key != "_id"}
            if push and push.get("authorised") and not new.get("error"):
                return ["push.allowed"], push | {"allowPush": True, "blocked": False}
            return ["push.rerecorded" if push else "push.recorded"], new
        if not push:
            return UnknownPush
        undecided = push | dict.fromkeys(("authorised", "canceled", "rejected"), False)
        match name:
            case "push.authorise":
                undecided.pop("attestation", None)
                given = {key: data[key] for key in ("attestation",) if data[key] is not None}
                return ["push.authorised"], undecided | given | {"authorised": True}
            case "push.reject":
                rejected = {"rejected": True, "rejection": data["rejection"]}
                return ["push.rejected"], undecided | rejected
            case "push.cancel":
                return ["push.canceled"], undecided | {"canceled": True}
            case _:
                new = push | {"id": data["new_id"], "legacyId": push["id"]}
                return (["push.rekeyed"] if new["id"] != push["id"] else []), new

    def _session(self, name: str, stream: str, data: dict[str, Any]) -> Decided:
        session: Session | None = self.now.get(stream)
        lives = session is not None and session.lives
        match name:
            case "session.set":
                number = self.starts[stream] + 1
                subject = f"{stream}#{number}" if number > 1 else stream
                fields = {key: value for key, value in data.items() if key != "sid"}
                if session and lives and session.user in (None, data["user"]):
                    return ["session.changed"], Session(session.subject, **fields)
                over = ["session.ended" if lives else "session.expired"] if session else []
                return [*over, "session.started"], Session(subject, **fields)
            case "session.touch":
                if not session or not lives or near(data["expires_at"], session.expires_at):
                    return [], session
                return ["session.touched"], replace(session, expires_at=data["expires_at"])
            case "session.end":
                return (["session.ended"] if session else []), None
            case _:
                return (["session.expired"] if session and not lives else []), None

    def _keep(self, command_id: str, stream: str, types: list[str], after: Any) -> Done:
        before: Any = self.now.get(stream)
        if {"session.ended", "session.expired"} & set(types):
            self.erased[before.subject] = True
        if "session.started" in types:
            self.starts[stream] += 1
            self.erased[after.subject] = False
        if isinstance(after, dict):
            self.holders[after["id"]] = stream
        for type in types:
            self.log.append((stream, self.version(stream) + 1, type))
        self.now[stream] = after
        done = Done("appended", stream, self.version(stream), len(self.log))
        self.commands[command_id] = done
        return done

    def shown_push(self, id: str) -> dict[str, Any] | type[Failure]:
        push: dict[str, Any] | None = self.now.get(self.stream({"id": id}))
        if not push:
            return UnknownPush
        return push if big_texts(push).keys() <= self.blobs.keys() else NoSuchBlob

    def view(self, stream: str) -> SessionView | None:
        session = self.now.get(stream)
        if not isinstance(session, Session) or not session.lives:
            return None
        return SessionView(
            stream.removeprefix("session-"),
            session.user,
            session.expires_at,
            session.read_only,
            session.body,
        )

    def expired(self) -> list[str]:
        return [
            stream.removeprefix("session-")
            for stream, session in self.now.items()
            if isinstance(session, Session) and not session.lives
        ]


def hash_of(sid: str) -> str:
    return sha256(sid.encode()).hexdigest()


def near(one: str, other: str) -> bool:
    return abs(datetime.fromisoformat(one) - datetime.fromisoformat(other)) < STEP


def big_texts(value: object) -> dict[str, bytes]:
    """Return the contents of more than 8 KiB in a document, by their SHA-256."""
    match value:
        case str() if len(content := value.encode()) > LONGEST:
            return {sha256(content).hexdigest(): content}
        case dict():
            return big_texts(list(value.values()))
        case list():
            return {name: each for inner in value for name, each in big_texts(inner).items()}
        case _:
            return {}


# --- the machine ------------------------------------------------------------------


class ThreeStores(RuleBasedStateMachine):
    """Drive three stores and the model; they must never differ."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self.resources = ExitStack()
        self.folder = Path(self.resources.enter_context(TemporaryDirectory()))
        self.server = self.resources.enter_context(psycopg.connect(server, autocommit=True))
        self.url = server
        self.model = Dicts()
        self.numbers = iter(range(EVERYTHING))
        self.asked: list[tuple[str, dict[str, Any], str]] = []
        self.urls: dict[str, str] = {}
        self.stores = {"memory": open_store("memory:")}
        self.make_sqlite()
        self.make_postgres()

    def make_sqlite(self) -> Store:
        return self.make("sqlite", f"sqlite:///{self.folder / str(next(self.numbers))}.db")

    def make_postgres(self) -> Store:
        schema = f"machine_{secrets.token_hex(6)}"
        drop = SQL("DROP SCHEMA {} CASCADE").format(Identifier(schema))
        self.resources.callback(self.server.execute, drop)
        return self.make("postgres", f"{self.url}?schema={schema}")

    def make(self, name: str, url: str) -> Store:
        self.urls[name] = url
        self.stores[name] = self.open(url, create=True)
        return self.stores[name]

    def open(self, url: str, *, create: bool = False) -> Store:
        """Open a store whose blobs no other store has."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("REFOLD_BLOBS", str(self.folder / f"blobs-{hash_of(url)}"))
            return open_store(url, create=create)

    def teardown(self) -> None:
        for store in self.stores.values():
            store.close()
        self.resources.close()

    # --- pushes and sessions --------------------------------------------------------

    @initialize(id=push_ids, message=texts, sid=sids, expires_at=expiries)
    def begin(self, id: str, message: str, sid: str, expires_at: str) -> None:
        self.ask("push.record", {"document": document(id, message, "empty", authorised=False)})
        self.set_session(sid, "begun", expires_at, "ada", read_only=False)

    @rule(
        id=push_ids,
        message=texts,
        content=texts,
        error=st.booleans(),
        authorised=st.booleans(),
        off=expected_off,
    )
    def record(
        self, id: str, message: str, content: str, off: int | None, *, error: bool, authorised: bool
    ) -> None:
        recorded = document(id, message, content, error=error, authorised=authorised)
        self.ask("push.record", {"document": recorded}, off=off)

    @rule(id=push_ids, decisions=st.lists(decisions, min_size=1, max_size=4))
    def decide(self, id: str, decisions: list[tuple[str, str | None, int | None]]) -> None:
        for name, reason, off in decisions:
            fields: dict[str, Any] = {"id": id}
            if name == "push.authorise":
                fields["attestation"] = {"answers": [TEXTS[reason]]} if reason else None
            if name == "push.reject":
                fields["rejection"] = {"reason": TEXTS[reason or "empty"]}
            self.ask(name, fields, off=off)

    @rule(id=push_ids, new_id=push_ids)
    def rekey(self, id: str, new_id: str) -> None:
        self.ask("push.rekey", {"id": id, "new_id": new_id})

    @rule(id=push_ids)
    def delete_a_push(self, id: str) -> None:
        self.ask("push.delete", {"id": id})

    @rule(
        sid=sids,
        body=st.text(max_size=3),
        expires_at=expiries,
        user=st.sampled_from((None, "ada")),
        read_only=st.booleans(),
    )
    def set_session(
        self, sid: str, body: str, expires_at: str, user: str | None, *, read_only: bool
    ) -> None:
        fields = {"sid": sid, "body": body, "expires_at": expires_at, "user": user}
        self.ask("session.set", fields | {"read_only": read_only})

    @rule(sid=sids, expiries=st.lists(expiries, min_size=1, max_size=4))
    def touch(self, sid: str, expiries: list[str]) -> None:
        for expires_at in expiries:
            self.ask("session.touch", {"sid": sid, "expires_at": expires_at})

    @rule(sid=sids, name=st.sampled_from(("session.end", "session.expire")))
    def end_or_expire(self, sid: str, name: str) -> None:
        self.ask(name, {"sid": sid} if name == "session.end" else {"hash": hash_of(sid)})

    @rule(one=st.integers(0, 50), other=st.none() | st.integers(0, 50))
    def ask_again(self, one: int, other: int | None) -> None:
        """Ask for the same, or for something else under the id of another command."""
        name, fields, command_id = self.asked[one % len(self.asked)]
        if other is not None:
            name, fields, _ = self.asked[other % len(self.asked)]
        self.ask(name, fields, command_id=command_id)

    def ask(
        self, name: str, fields: dict[str, Any], *, off: int | None = None, command_id: str = ""
    ) -> None:
        id = command_id or f"command-{next(self.numbers)}"
        self.asked.append((name, fields, id))
        version = self.model.version(self.model.stream(fields))
        expected = None if off is None else version + off
        answer = self.model.run(name, fields, id, off)
        run = partial(commands.run, command_id=id, actor="ada", expected=expected)
        given = {
            engine: _outcome(partial(run, store, name, fields))
            for engine, store in self.stores.items()
        }
        assert [_kind(each) for each in given.values()] == [answer] * len(given), given
        assert len(set(map(str, given.values()))) == 1, given

    # --- blobs ----------------------------------------------------------------------

    @rule(text=texts, keep=st.booleans(), start=st.integers(0, 9), end=st.none() | st.just(7))
    def put_or_delete_a_blob_and_get_it(
        self, text: str, start: int, end: int | None, *, keep: bool
    ) -> None:
        content = TEXTS[text].encode()
        name = sha256(content).hexdigest()
        if keep:
            self.model.blobs[name] = content
        else:
            self.model.blobs.pop(name, None)
        for engine, store in self.stores.items():
            if keep:
                assert store.blobs.put([content], expected=name) == Blob(name, len(content))
            else:
                store.blobs.delete(name)
            given = _outcome(lambda: b"".join(store.blobs.get(name, start, end)))  # noqa: B023
            assert _kind(given) == (content[start:end] if keep else NoSuchBlob), engine

    # --- what operators do ----------------------------------------------------------

    @rule(what=st.sampled_from(("copy", "purge", "fold", "copy", "purge", "restart", "rebuild")))
    def operate(self, what: str) -> None:
        """Do one of the expensive things; together they are as frequent as one kind of command."""
        match what:
            case "restart":
                for name, url in self.urls.items():
                    self.stores[name].close()
                    self.stores[name] = self.open(url)
            case "fold":
                self.compare_tables()
            case "purge":
                self.purge()
            case "rebuild":
                for store in self.stores.values():
                    store.folder.catch_up()
                    assert all(each.is_equal for each in store.rebuilder.rebuild(catalog.ALL))
                self.compare_tables()
            case "copy":
                self.copy_there_and_back_and_go_on_with_the_copies()

    def purge(self) -> None:
        """Purge what expired; each engine has an order of its own, so there is at most one left."""
        for hash in self.model.expired()[1:]:
            self.ask("session.expire", {"hash": hash})
        expired = self.model.expired()
        for hash in expired:
            self.model.run("session.expire", {"hash": hash}, "purge", None)
            del self.model.commands["purge"]
        for name, store in self.stores.items():
            assert purge(store) == len(expired), name

    def copy_there_and_back_and_go_on_with_the_copies(self) -> None:
        origin, replaced = self.stores["sqlite"], self.stores["postgres"]
        there, back = self.make_postgres(), self.make_sqlite()
        if lost := self.model.referred.keys() - self.model.blobs.keys():
            [difference] = copying.copy(origin, there).differences
            assert difference == f"missing blobs: {len(lost)}"
        for name in lost:
            self.model.blobs[name] = self.model.referred[name]
            for store in (origin, self.stores["memory"]):
                store.blobs.put([self.model.blobs[name]])
        certificates = copying.copy(origin, there), copying.copy(there, back)
        assert [each.differences for each in certificates] == [[], []]
        assert {each.blobs.count for each in certificates} == {len(self.model.referred)}
        assert len({tuple(each.ends) for each in certificates}) == 1
        for facts in (_records, _keys_digest, _digests):
            assert facts(origin) == facts(there) == facts(back)
        for name in self.model.blobs.keys() - self.model.referred.keys():  # these stayed behind
            self.stores["memory"].blobs.delete(name)
        self.model.blobs = dict(self.model.referred)
        origin.close()
        replaced.close()

    # --- what always holds ----------------------------------------------------------

    @invariant()
    def logs_are_the_model(self) -> None:
        logs = {name: list(map(_entry, _records(store))) for name, store in self.stores.items()}
        for name, log in logs.items():
            assert [entry[:3] for entry in log] == self.model.log, name
            assert log == logs["memory"], name

    @invariant()
    def claims_are_the_model(self) -> None:
        held = sorted(self.model.holders.items())
        for name, store in self.stores.items():
            assert store.log.claims()[1] == [Claim("push id", *each) for each in held], name

    @invariant()
    def keys_are_the_model(self) -> None:
        for name, store in self.stores.items():
            erased = {key.subject: key.wrapped is None for key in store.log.keys()}
            assert erased == self.model.erased, name

    @invariant()
    def blobs_are_the_model(self) -> None:
        blobs = [Blob(name, len(content)) for name, content in sorted(self.model.blobs.items())]
        for name, store in self.stores.items():
            assert list(store.blobs.list()) == blobs, name

    @invariant()
    def pushes_are_the_model(self) -> None:
        for id in IDS:
            expected = self.model.shown_push(id)
            for name, store in self.stores.items():
                assert _kind(_outcome(partial(show_push, store, id))) == expected, name

    @invariant()
    def sessions_are_the_model(self) -> None:
        for sid in SIDS:
            expected = self.model.view(f"session-{hash_of(sid)}")
            for name, store in self.stores.items():
                assert show_session(store, sid) == expected, name

    def compare_tables(self) -> None:
        """Fold, and compare what is listed with the model, and the tables with each other."""
        alive = [view for stream in sorted(self.model.now) if (view := self.model.view(stream))]
        known = sorted(now["id"] for now in self.model.now.values() if isinstance(now, dict))
        rows = {name: _sessions(store) for name, store in self.stores.items()}
        digests = {name: _digests(store) for name, store in self.stores.items()}
        for name, store in self.stores.items():
            assert list(list_sessions(store)) == alive, name
            assert [each["id"] for each in list_pushes(store, {})] == known, name
            assert rows[name] == rows["memory"], name
            assert digests[name] | TIMED == digests["memory"] | TIMED, name


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Failure as failure:
        return failure


def _kind(outcome: Any) -> Any:
    return type(outcome) if isinstance(outcome, Failure) else outcome


def _records(store: Store) -> list[Recorded]:
    return store.log.page(PARTITION, 0, EVERYTHING)


def _entry(record: Recorded) -> tuple[str, int, str, int, int, dict[str, Any]]:
    """Return what is the same on all engines: each has a clock, and seals, of its own."""
    data = parse(record.data)
    if "body" in data:
        del data["body"]["sealed"]
    return (
        record.stream, record.version, record.type, record.position, record.command_no, data
    )  # fmt: skip


def _keys_digest(store: Store) -> str:
    return digest(store.log.keys())


TIMED: Final = {sessions.NAME: None, pushes.NAME: None}
"""Tables that say when something happened, by the clock of each store."""


def _digests(store: Store) -> dict[str, object]:
    store.folder.catch_up()
    return {each.NAME: store.folder.digest(each) for each in catalog.ALL}


def _sessions(store: Store) -> list[tuple[object, ...]]:
    """Return the rows without the box and the time that each engine has of its own."""
    store.folder.catch_up()
    with store.tables.reading() as connection:
        rows = store.tables.rows.scan(connection, store.tables.current(connection)[sessions.NAME])
        return [
            (*row[:-1], parse(row.sealed.encode())[:2])
            for row in (sessions.Row(*row)._replace(started_at_us=0) for row in rows)
        ]
