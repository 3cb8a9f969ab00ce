"""Ids and bodies of sessions are planted, and searched for in all that refold keeps and prints."""

import io
import json
import secrets
import sqlite3
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from refold.infrastructure import commands
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.binaries import find_binaries
from refold.infrastructure.services.sessions import list_sessions, show_session
from refold.scripts import cli

LATER, PAST = "2990-01-01T00:00:00Z", "2020-01-01T00:00:00Z"
KEY = "c0ffee" * 10 + "beef"

Refold = Callable[..., int]


class Planted:
    """Ids and bodies that nobody else writes."""

    def __init__(self) -> None:
        self.canaries: list[str] = []

    def new(self, what: str) -> str:
        self.canaries.append(f"canary-{what}-{secrets.token_hex(8)}")
        return self.canaries[-1]

    def session(self, sid: str | None = None, expires_at: str = LATER) -> dict[str, str]:
        body = json.dumps({"user": {"token": self.new("body")}})
        return {"sid": sid or self.new("sid"), "body": body, "expires_at": expires_at}


@pytest.fixture
def planted() -> Planted:
    return Planted()


@pytest.fixture
def printed() -> list[str]:
    """What the commands wrote to stdout and stderr."""
    return []


@pytest.fixture
def refold(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    printed: list[str],
) -> Refold:
    """The command, run in this process; returns its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFOLD_VAULT_KEY", KEY)

    def run(*arguments: str, stdin: object = None) -> int:
        lines = stdin if isinstance(stdin, list) else [stdin]
        text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in lines)
        monkeypatch.setattr(sys, "argv", ["refold", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed.extend(capsys.readouterr())
        return int(ended.value.code or 0)

    return run


@pytest.fixture
def urls(tmp_path: Path, postgres_url: str) -> dict[str, str]:
    return {"sqlite": f"sqlite:///{tmp_path}/store.db", "postgres": postgres_url}


# --- nothing is found -------------------------------------------------------------------


@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_no_id_and_no_body_is_in_any_file_dump_or_output(
    tmp_path: Path,
    urls: dict[str, str],
    refold: Refold,
    planted: Planted,
    printed: list[str],
    source: str,
    target: str,
) -> None:
    store = ["--store", urls[source]]
    kept = planted.session()
    ended = planted.session()
    refold("init", *store)
    use_sessions(refold, store, planted, kept, ended)
    refuse_sessions(refold, store, planted)
    for json_or_not in ([], ["--json"]):
        assert refold("status", *store, *json_or_not) == 0
        assert refold("rebuild", *store, *json_or_not) == 0
        assert refold("verify", urls[source], *json_or_not) == 0
    assert refold("copy", urls[source], urls[target]) == 0
    assert refold("verify", urls[source], urls[target], "--json") == 0
    assert refold("move", urls[source], urls[target], "--json") == 0
    assert refold("command", "session.set", *store, stdin=planted.session()) == 1

    with open_store(urls[target]) as moved, open_store(urls[source]):  # so that logs stay open
        data = planted.session(kept["sid"])
        commands.run(moved, "session.set", data, command_id="last", actor="ada")
        shown = show_session(moved, kept["sid"])
        bodies = [each.body for each in list_sessions(moved)]
        files = {path.name: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        dumped = dump(urls["postgres"])

    assert shown is not None
    assert shown.body == data["body"]
    assert data["body"] in bodies
    assert len(planted.canaries) > 12
    assert {"store.db", "store.db-wal", "store.db-tables", "store.db-tables-wal"} <= files.keys()
    everywhere = {**files, "dump": dumped, "output": "\n".join(printed).encode()}
    sought = [*planted.canaries, KEY]
    assert {name: found(sought, data) for name, data in everywhere.items()} == {
        name: [] for name in everywhere
    }
    hash = shown.hash.encode()
    assert hash in dumped  # it is the place where the canaries would be
    assert hash in files["store.db"] + files["store.db-wal"]
    assert hash in files["store.db-tables"] + files["store.db-tables-wal"]


def use_sessions(
    refold: Refold,
    store: Sequence[str],
    planted: Planted,
    kept: dict[str, str],
    over: dict[str, str],
) -> None:
    """Set, change, touch, end, expire and set again, one by one and as lines."""
    touched = {"sid": kept["sid"], "expires_at": "2991-01-01T00:00:00Z"}
    steps: list[tuple[str, object]] = [
        ("session.set", kept),
        ("session.set", planted.session(kept["sid"])),
        ("session.touch", touched),
        ("session.set", over),
        ("session.end", {"sid": over["sid"]}),
        ("session.set", planted.session(over["sid"])),
        ("session.end", {"sid": over["sid"]}),
    ]
    for name, data in steps:
        assert refold("command", name, *store, stdin=data) == 0
        assert refold("command", name, *store, "--json", stdin=data) == 0
    expired = planted.session(expires_at=PAST)
    lines = [
        {"name": "session.set", "data": data}
        for data in (expired, planted.session(expired["sid"]), planted.session())
    ]
    assert refold("command", "--lines", *store, stdin=lines) == 0


def refuse_sessions(refold: Refold, store: Sequence[str], planted: Planted) -> None:
    """Ask for what cannot be done: the answers are sentences about the input."""
    cut = json.dumps(planted.session())[:-1]
    wrong: list[object] = [
        planted.session(expires_at="tomorrow"),
        {**planted.session(), "unknown": planted.new("field")},
        {**planted.session(), "body": [planted.new("list")]},
        {**planted.session(), "sid": [planted.new("list")]},
        [planted.session()],
        cut,
    ]
    for data in wrong:
        stdin = json.dumps(data) if isinstance(data, list) else data
        assert refold("command", "session.set", *store, stdin=stdin) == 1
        refold(
            "command", "--lines", *store, stdin=json.dumps({"name": "session.set", "data": data})
        )
        refold("command", "--lines", *store, stdin=stdin)
    assert refold("command", "session.set", *store, "--expected", "7", stdin=planted.session()) == 1


# --- the search finds -------------------------------------------------------------------


def spelled(canary: str) -> Iterator[tuple[str, bytes]]:
    yield "clear", canary.encode()
    yield "utf-16", canary.encode("utf-16-le")
    yield "hex", canary.encode().hex().encode()
    yield "HEX", canary.encode().hex().upper().encode()
    for before in range(3):
        text = bytes(before) + canary.encode()
        inside = slice(4 if before else 0, len(text) // 3 * 4)  # what nothing else shares
        yield f"base64 after {before}", b64encode(text)[inside]


def found(canaries: Iterable[str], data: bytes) -> list[str]:
    """Name the canaries in `data`, and how each is spelled there."""
    return [
        f"{canary} in {spelling}"
        for canary in canaries
        for spelling, text in spelled(canary)
        if text in data
    ]


def dump(url: str) -> bytes:
    """Return all that is in a database, by pg_dump or, where there is none, table by table."""
    with psycopg.connect(url) as server:
        for binaries in find_binaries():
            program = binaries.directory / "pg_dump"
            if program.is_file() and int(binaries.version.split(".")[0]) >= _major(server):
                return subprocess.check_output([program, f"--dbname={url}"], timeout=60)
        return tables_of(server)


def tables_of(server: psycopg.Connection[tuple[object, ...]]) -> bytes:
    """Return the text of all tables."""
    everything = b""
    for schema, name in server.execute(
        "SELECT schemaname, tablename FROM pg_tables"
        " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    ).fetchall():
        table = Identifier(str(schema), str(name))
        with server.cursor().copy(SQL("COPY {} TO STDOUT").format(table)) as rows:
            everything += b"".join(map(bytes, rows))
    return everything


def _major(server: psycopg.Connection[tuple[object, ...]]) -> int:
    return server.info.server_version // 10_000


@pytest.mark.parametrize("before", ["", "x", "xy", "xyz"])
def test_a_canary_is_found_however_it_is_spelled(before: str, planted: Planted) -> None:
    canary, other = planted.new("body"), planted.new("sid")
    clear = f"{before}{canary}, and more".encode()

    spellings = [clear, clear.decode().encode("utf-16-le"), clear.hex().encode(), b64encode(clear)]
    for data in spellings:
        assert [each.split()[0] for each in found(planted.canaries, b"\0" + data)] == [canary]

    assert found(planted.canaries, clear.replace(canary.encode(), other.encode())[:-40]) == []


def test_a_canary_that_stands_in_a_table_is_found_in_the_files_of_sqlite(
    tmp_path: Path, planted: Planted
) -> None:
    for number, text in enumerate((planted.new("body"), planted.new("body").encode().hex())):
        with sqlite3.connect(tmp_path / f"{number}.db") as connection:
            connection.execute("CREATE TABLE leak (text)")
            connection.execute("INSERT INTO leak VALUES (?)", (f"before {text} after",))

    files = [(tmp_path / f"{number}.db").read_bytes() for number in range(2)]

    assert [len(found(planted.canaries, data)) for data in files] == [1, 1]


def test_a_canary_that_stands_in_a_table_is_found_in_a_dump_of_postgresql(
    postgres_url: str, planted: Planted
) -> None:
    with psycopg.connect(postgres_url) as server:
        server.execute("CREATE TABLE leak (text text, bytes bytea)")
        server.execute(
            "INSERT INTO leak VALUES (%s, %s)",
            (planted.new("text") + "x" * 9_000, b"\xff" + planted.new("bytes").encode()),
        )
        by_tables = tables_of(server)

    by_dump = dump(postgres_url)

    for data in (by_tables, by_dump):
        assert [each.split()[0] for each in found(planted.canaries, data)] == planted.canaries


# --- erased keys ------------------------------------------------------------------------


def test_the_keys_of_ended_sessions_are_gone_from_the_files_of_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFOLD_VAULT_KEY", raising=False)
    sids = [f"sid {number}" for number in range(120)]
    with open_store(f"sqlite:///{tmp_path}/store.db", create=True) as store:
        for sid in sids:
            data = {"sid": sid, "body": "b", "expires_at": LATER}
            commands.run(store, "session.set", data, command_id=sid, actor="ada")
        keys = [key.wrapped for key in store.log.keys() if key.wrapped]
        checkpoint(tmp_path / "store.db")
        before = sum(key in in_files(tmp_path) for key in keys)

        for sid in sids[1:]:
            commands.run(store, "session.end", {"sid": sid}, command_id=f"-{sid}", actor="ada")
        checkpoint(tmp_path / "store.db")

        alive = [key.wrapped for key in store.log.keys() if key.wrapped]
        assert before == len(keys) == 121
        assert [key for key in keys if key in in_files(tmp_path)] == [k for k in keys if k in alive]
        assert len(alive) == 2
        assert show_session(store, sids[0]) is not None


def checkpoint(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        [(busy, *_)] = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert not busy


def in_files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
