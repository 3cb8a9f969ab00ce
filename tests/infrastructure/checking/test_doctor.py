"""`refold doctor`: whatever is broken here is broken for real, and named with what mends it."""

import json
import os
import shlex
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from shutil import copy, copytree
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

import psycopg
import pytest
from typer.testing import CliRunner

from refold.domain.errors import DamagedTables, Unfoldable
from refold.domain.ports import Command, NewEvent, State, Write
from refold.domain.positions import PARTITION, Positions
from refold.infrastructure import chain, commands
from refold.infrastructure.address import Sqlite
from refold.infrastructure.checking.doctor import Report, examine
from refold.infrastructure.checking.finding import Finding
from refold.infrastructure.checking.mends import Mends
from refold.infrastructure.claiming import CLAIMING
from refold.infrastructure.config import of_environment
from refold.infrastructure.folding.generations import PREVIOUS
from refold.infrastructure.folding.rebuilding import NoSuchGeneration
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres import checks as postgres_checks
from refold.infrastructure.postgres.cluster import Cluster, throwaway
from refold.infrastructure.requests.catalog import REQUESTS
from refold.infrastructure.requests.request import Fields
from refold.infrastructure.services import media
from refold.infrastructure.services.files import list_files
from refold.infrastructure.sqlite import checks as sqlite_checks
from refold.infrastructure.sqlite.connection import connect, tables_unavailable
from refold.infrastructure.store import Store
from refold.projections import catalog, files
from refold.scripts.cli import app

KEY: Final = "5a" * 32
CONTENT: Final = b"hello"
HELLO: Final = sha256(CONTENT).hexdigest()
ADA: Final = {"username": "ada", "email": "ada@example.org", "gitAccount": "ada-gh"}
PUSH: Final = {"id": "a__b", "steps": [], "timestamp": 1, "url": "https://git.example/a.git"}
TAIL: Final = 3
"""Events behind the last seal."""

Url = str


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the blobs of a store of each kind of event, folded and sealed: `store.db`."""
    folder = tmp_path_factory.mktemp("samples")
    with given(folder):
        filled(f"sqlite:///{folder / 'store.db'}")
        yield folder


@pytest.fixture(scope="module")
def server() -> Iterator[Url]:
    """A server of this module's own: its settings are changed, and its databases go with it."""
    with a_server() as cluster:
        yield cluster.url


def a_server() -> AbstractContextManager[Cluster]:
    binaries = os.environ.get("REFOLD_TEST_POSTGRES_BINARIES")
    return throwaway(Path(binaries) if binaries else None)


@pytest.fixture(scope="module")
def databases(server: Url, samples: Path) -> Callable[[], Url]:
    """Makes databases with such a store; they are copied, which is fast."""
    numbers = count()

    def made(template: str) -> Url:
        name = f"doctor_{next(numbers)}"
        with psycopg.connect(server, autocommit=True) as session:
            session.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return urlsplit(server)._replace(path=f"/{name}").geturl()

    first = made("template0")
    with given(samples):
        filled(first)
    return lambda: made(urlsplit(first).path[1:])


@contextmanager
def given(folder: Path) -> Iterator[None]:
    """Give the key of sealed fields and a place for blobs, and let seals stand close together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFOLD_VAULT_KEY", KEY)
        patch.setenv("REFOLD_BLOBS", str(folder / "blobs"))
        patch.setattr(chain, "GRID", 4)
        yield


@pytest.fixture(autouse=True)
def environment(samples: Path, tmp_path: Path) -> Iterator[None]:
    """Give each test its own blobs, and the surroundings in which the stores were made."""
    copytree(samples / "blobs", tmp_path / "blobs")
    with given(tmp_path):
        yield


@pytest.fixture
def own_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a new store a place for blobs where there are none."""
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "own-blobs"))


@pytest.fixture
def in_postgres(databases: Callable[[], Url]) -> Url:
    """The address of a store of each kind of event, folded and sealed."""
    return databases()


@pytest.fixture
def in_sqlite(samples: Path, tmp_path: Path) -> Url:
    """The same in a file."""
    for name in ("store.db", "store.db-tables"):
        copy(samples / name, tmp_path)
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture(params=["in_sqlite", "in_postgres"])
def url(request: pytest.FixtureRequest) -> Url:
    """The same on each engine."""
    return str(request.getfixturevalue(request.param))


def filled(url: Url) -> Url:
    with open_store(url, create=True) as store:
        run = partial(commands.run, store, actor="ada")
        run("user.register", {"id": "1", "profile": ADA, "password_hash": "$2b$x"}, command_id="1")
        run("user.change", {"id": "1", "profile": {"email": "ada@b.org"}}, command_id="2")
        run("repo.register", {"id": "r", "document": REPO}, command_id="3")
        run("push.record", {"document": PUSH}, command_id="4")
        run("push.rekey", {"id": "a__b", "new_id": "a__c"}, command_id="5")
        media.put(store, [CONTENT], id="m", mime_type="text/plain", uploader="ada")
        register(store, "one")
        register(store, "two")
        chain.seal(store.log, PARTITION, store.advance.head()[PARTITION])
        for name in ("three", "four", "five")[:TAIL]:
            register(store, name)
        store.folder.catch_up()
    return url


REPO: Final = {"project": "p", "name": "a", "url": "https://git.example/a.git"}


def register(store: Store, name: str) -> None:
    fields = {"sha256": sha256(name.encode()).hexdigest(), "cid": "bafy", "name": name}
    commands.run(store, "file.register", fields, command_id=name, actor="ada")


def examined(url: Url) -> Report:
    settings = of_environment()
    return examine(settings.address(url), settings)


def found(url: Url) -> Sequence[Finding]:
    report = examined(url)
    assert report.is_reachable
    return report.findings


def only(url: Url) -> Finding:
    [finding] = found(url)
    return finding


# --- a store that is well -----------------------------------------------------------------


def test_nothing_is_found_in_a_store_that_is_well(url: Url) -> None:
    before = contents(url)

    report = examined(url)

    assert found(url) == []
    assert (report.is_well, report.is_reachable, report.positions) == (True, True, Positions((11,)))
    assert contents(url) == before


def test_nothing_is_found_in_a_store_where_nothing_happened(
    tmp_path: Path, own_blobs: None
) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"
    open_store(url, create=True).close()

    assert found(url) == []


def test_a_file_of_tables_that_was_deleted_is_not_made_again(
    in_sqlite: Url, tmp_path: Path
) -> None:
    tables = tmp_path / "store.db-tables"
    tables.unlink()

    finding = only(in_sqlite)

    assert (finding.check, finding.level) == ("tables", "warning")
    assert finding.mend == f"refold rebuild --store {in_sqlite}"
    assert not tables.exists()


@pytest.mark.parametrize("lost", ["files_1", "sessions_1"])
@pytest.mark.parametrize("version", [None, "x"], ids=["", "of another version"])
def test_a_table_that_was_dropped_is_built_by_what_is_told(
    url: Url, lost: str, version: str | None
) -> None:
    name = lost.partition("_")[0]
    before = listed_files(url)
    with owner(url, tables=True) as session:
        session.execute(f"DROP TABLE {lost} {'' if 'sqlite' in url else 'CASCADE'}")
        if version:
            session.execute(f"UPDATE projections SET fingerprint = 'x' WHERE name = '{name}'")

    finding = only(url)
    mended = CliRunner().invoke(app, ["rebuild", name, "--workers", "1", "--store", url])

    assert (finding.check, finding.level) == ("tables", "problem")
    assert finding.what == f"the database does not have {name}_1 any more"
    assert finding.mend.startswith(f"refold rebuild {name} --store ")
    assert mended.exit_code == 0
    assert found(url) == []
    assert listed_files(url) == before


def test_a_new_table_that_was_dropped_is_begun_anew(url: Url) -> None:
    with open_store(url) as store:
        store.rebuilder.fill([files])
        with owner(url, tables=True) as session:
            session.execute("DROP TABLE files_2")
        [compared] = store.rebuilder.rebuild([files])

    assert (compared.generation, compared.is_equal) == (3, True)


def test_a_table_that_was_dropped_is_not_put_in_place_again(url: Url) -> None:
    with open_store(url) as store:
        store.rebuilder.rebuild([files])
        before = list(list_files(store))
    with owner(url, tables=True) as session:
        session.execute(f"DROP TABLE files_1 {'' if 'sqlite' in url else 'CASCADE'}")

    told = only(url)
    with open_store(url) as store:
        with pytest.raises(NoSuchGeneration):
            store.rebuilder.roll_back([files])
        dropped = store.rebuilder.drop([files], PREVIOUS)
        after = list(list_files(store))

    assert told.what.startswith("the database does not have files_1 any more")
    assert [each.number for each in dropped] == [1]
    assert after == before
    assert found(url) == []


def listed_files(url: Url) -> list[Any]:
    with open_store(url) as store:
        return list(list_files(store))


def test_a_registry_of_tables_that_is_missing_is_not_made_again(url: Url) -> None:
    with owner(url, tables=True) as session:
        session.execute("DROP TABLE parked")
    before = contents(url)

    finding = only(url)

    assert (finding.check, finding.level) == ("tables", "warning")
    assert contents(url) == before


def _its_beginning(tables: Path) -> None:
    with tables.open("r+b") as file:
        file.write(b"this is no database")


def _all_of_it(tables: Path) -> None:
    tables.write_bytes(b"this is no database" * 1_000)


def _its_end(tables: Path) -> None:
    with tables.open("r+b") as file:
        file.truncate(5_000)


def _its_middle(tables: Path) -> None:
    with tables.open("r+b") as file:
        file.seek(4_096)
        file.write(b"\xa5" * 80_000)


@pytest.mark.parametrize("damage", [_its_beginning, _all_of_it, _its_end, _its_middle])
def test_a_file_of_tables_that_is_damaged_is_folded_again_by_what_is_told(
    in_sqlite: Url, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    tables = tmp_path / "store.db-tables"
    damage(tables)

    report = examined(in_sqlite)

    [finding] = report.findings
    assert report.is_reachable
    assert (finding.check, finding.level) == ("tables", "problem")
    assert finding.what.startswith(f"the query tables in {tables} are damaged: ")
    assert finding.mend.startswith(f"rm {tables} ")
    subprocess.run(shlex.split(finding.mend.partition(" (")[0]), check=True)
    with open_store(in_sqlite) as store:
        store.folder.catch_up()
    assert found(in_sqlite) == []


def test_who_needs_damaged_tables_is_told_to_delete_them(in_sqlite: Url, tmp_path: Path) -> None:
    tables = tmp_path / "store.db-tables"
    with open_store(in_sqlite) as store:
        _its_middle(tables)
        with pytest.raises(DamagedTables) as read:
            list_files(store)
    _its_beginning(tables)
    with pytest.raises(DamagedTables) as opened:
        open_store(in_sqlite)

    for raised, name in (read, "SQLITE_CORRUPT"), (opened, "SQLITE_NOTADB"):
        sentence = (
            f"the query tables in {tables} are damaged: {name}; delete them while nobody uses"
        )
        assert str(raised.value).startswith(sentence)
        assert f"rm {tables}" in str(raised.value)


def test_what_is_beside_damaged_tables_goes_with_them(tmp_path: Path) -> None:
    tables = tmp_path / "my store.db-tables"
    (tmp_path / "my store.db-tables-wal").touch()

    told = tables_unavailable(tables, damaged())

    assert isinstance(told, DamagedTables)
    assert shlex.split(told.mend) == ["rm", str(tables), f"{tables}-wal"]


def damaged() -> sqlite3.DatabaseError:
    with closing(sqlite3.connect(":memory:")) as empty:
        empty.deserialize(b"this is no database" * 1_000)
        with pytest.raises(sqlite3.DatabaseError) as raised:
            empty.execute("PRAGMA user_version")
    return raised.value


def test_a_file_of_tables_that_cannot_be_opened_is_no_fault_of_the_log(
    in_sqlite: Url, tmp_path: Path
) -> None:
    tables = tmp_path / "store.db-tables"
    tables.unlink()
    tables.mkdir(mode=0o700)

    finding = only(in_sqlite)

    assert (finding.check, finding.level) == ("tables", "problem")
    assert finding.what == f"the SQLite file {tables} cannot be used: SQLITE_CANTOPEN"
    assert finding.mend == f"ls -ld {tables}"


def test_nothing_unsealed_is_sealed_by_looking(in_sqlite: Url) -> None:
    with open_store(in_sqlite) as store:
        register(store, "six")
        store.folder.catch_up()

    assert found(in_sqlite) == []
    with open_store(in_sqlite) as store:
        assert [each.position for each in store.log.seals(PARTITION)] == [4, 8]


# --- the state ----------------------------------------------------------------------------


def test_a_copy_that_was_broken_off_is_a_problem(url: Url) -> None:
    with open_store(url) as store:
        store.log.change_state(State.FILLING)

    finding = only(url)

    assert (finding.check, finding.level) == ("state", "problem")
    assert (
        finding.what == "a copy fills this store and has not come to its end: it takes no commands"
    )
    assert finding.mend == f"refold copy SOURCE {Mends(of_environment().address(url)).address}"


def test_a_move_under_way_is_a_warning_at_both_ends(url: Url) -> None:
    other = "sqlite:////other.db"
    with open_store(url) as store:
        store.log.change_state(State.FILLING, successor=other)
    filling = only(url)
    with open_store(url) as store:
        store.log.change_state(State.SEALED, successor=other)
    moved = only(url)

    assert (filling.check, filling.level, moved.check, moved.level) == ("state", "warning") * 2
    assert filling.what == f"a move from {other} fills this store: it takes no commands yet"
    assert filling.mend.startswith(f"refold cutover {other} ")
    assert moved.what == f"this store has moved to {other} and takes no commands"
    assert moved.mend == f"refold doctor --store {other}"


# --- the log ------------------------------------------------------------------------------


def test_an_event_that_is_gone_is_a_hole(url: Url) -> None:
    for position in (10, 3):
        tamper(url, f"DELETE FROM events WHERE position = {position}")

        [finding] = [each for each in found(url) if each.check == "holes"]

        assert finding.level == "problem"
        assert finding.what == f"event {position} is missing"
        assert finding.mend.startswith("refold verify ")


def test_a_tail_cut_off_below_a_seal_is_a_hole(url: Url) -> None:
    tamper(url, "DELETE FROM events WHERE position > 6")

    findings = {each.check: each.what for each in found(url)}

    assert findings["holes"] == "events are missing between positions 7 and 8"
    assert "went up to position 11, where the log, which ends at 6" in findings["position"]


def test_what_was_altered_breaks_the_first_seal_over_it(url: Url) -> None:
    [[data]] = tamper(url, "SELECT data FROM events WHERE position = 7")
    flipped = data.replace(b'"one"', b'"onf"')
    assert flipped != data
    tamper(url, "UPDATE events SET data = ? WHERE position = 7", flipped)
    tamper(url, "DELETE FROM claims WHERE kind = 'push id'")

    event = found(url)
    tamper(url, "UPDATE seals SET chain = ? WHERE position = 4", b"\0" * 32)
    seal = found(url)

    assert [each.check for each in event] == ["seals", "claims", "claims"]
    assert event[0].what == "the events from 5 to 8 are not those that were sealed"
    assert seal[0].what == "the events from 1 to 4 are not those that were sealed"


def test_a_trigger_that_was_disabled_is_enabled_by_what_is_told(in_postgres: Url) -> None:
    for change, told in (
        ("ALTER TABLE events DISABLE TRIGGER USER", "is disabled"),
        ("ALTER TABLE events ENABLE TRIGGER USER", "is not enabled for every session"),
        ("DROP TRIGGER events_are_not_changed ON events", "is missing"),
        (f"CREATE OR REPLACE {NARROW}", "is not the one that refold made"),
        (f"CREATE OR REPLACE {HOLLOW}", "calls a function that was changed"),
    ):
        with owner(in_postgres) as session:
            session.execute(change)

        finding = only(in_postgres)
        type_in(in_postgres, finding.mend)

        assert (finding.check, finding.level) == ("guards", "problem")
        assert finding.what.endswith(told)
    assert found(in_postgres) == []


NARROW: Final = (
    "TRIGGER events_are_not_changed BEFORE UPDATE ON events"
    " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
)
HOLLOW: Final = (
    "FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"
)


@pytest.mark.parametrize("action", ["updated", "deleted", "replaced"])
def test_a_trigger_that_was_dropped_is_made_by_what_is_told(in_sqlite: Url, action: str) -> None:
    with owner(in_sqlite) as session:
        session.execute(f"DROP TRIGGER events_are_not_{action}")
    missing = only(in_sqlite)
    type_in(in_sqlite, missing.mend)
    assert found(in_sqlite) == []
    with owner(in_sqlite) as session:
        session.execute(f"DROP TRIGGER events_are_not_{action}")
        session.execute(
            f"CREATE TRIGGER events_are_not_{action} BEFORE UPDATE ON seals BEGIN SELECT 1; END"
        )
    changed = only(in_sqlite)
    type_in(in_sqlite, changed.mend)

    assert (missing.check, missing.level) == ("guards", "problem")
    assert missing.what.endswith("is missing")
    assert changed.what.endswith("was changed")
    assert found(in_sqlite) == []


# --- claims -------------------------------------------------------------------------------


CLAIMS: Final = {
    "DELETE FROM claims WHERE kind = 'user name'": (
        "a claim of the kind user name is held by nobody; by the events it belongs to user-1"
    ),
    "DELETE FROM claims WHERE kind = 'e-mail'": (
        "a claim of the kind e-mail is held by nobody; by the events it belongs to user-1"
    ),
    "UPDATE claims SET stream = 'repo-other' WHERE kind = 'repo url'": (
        "a claim of the kind repo url is held by repo-other; by the events it belongs to repo-r"
    ),
    "INSERT INTO claims VALUES ('push id', 'o''clock', 'push-o')": (
        "a claim of the kind push id is held by push-o; by the events it belongs to nobody"
    ),
    "DELETE FROM claims WHERE kind = 'media content'": (
        "a claim of the kind media content is held by nobody; by the events it belongs to media-m"
    ),
}


def test_a_claim_that_is_not_what_the_events_make_is_put_right_by_what_is_told(url: Url) -> None:
    for change, told in CLAIMS.items():
        with owner(url) as session:
            session.execute(change)

        finding = only(url)
        type_in(url, finding.mend)

        assert (finding.check, finding.level, finding.what) == ("claims", "problem", told)
    assert found(url) == []


def test_many_claims_are_counted(in_sqlite: Url) -> None:
    with owner(in_sqlite) as session:
        for n in range(9):
            session.execute(f"INSERT INTO claims VALUES ('push id', '{n}', 'push-o')")

    findings = found(in_sqlite)

    assert len(findings) == 6
    assert findings[-1].what == "4 more claims are not what the events make of them"


def test_all_kinds_of_streams_with_claims_are_followed() -> None:
    def declares(request: type[Any]) -> bool:
        return getattr(request, "claims", Fields.claims) is not Fields.claims

    claiming = {name.partition(".")[0] for name, each in REQUESTS.items() if declares(each)}

    assert claiming == set(CLAIMING)


# --- query tables -------------------------------------------------------------------------


def test_tables_that_nobody_folds_are_a_warning(url: Url) -> None:
    with open_store(url) as store:
        register(store, "six")

    finding = only(url)

    assert (finding.check, finding.level) == ("behind", "warning")
    assert finding.what.startswith("up to 1 events are not yet in tables ")
    assert finding.mend.startswith("refold run --store ")
    assert examined(url).is_well


def test_tables_that_were_never_folded_are_a_warning(tmp_path: Path, own_blobs: None) -> None:
    url = f"sqlite:///{tmp_path / 'unfolded.db'}"
    with open_store(url, create=True) as store:
        register(store, "one")

    finding = only(url)

    assert (finding.check, finding.level) == ("tables", "warning")


@pytest.mark.parametrize(
    ("type", "data", "told", "mend"),
    [
        ("file.melted", b"{}", "event 13: event type file.melted with schema 1", "pip install"),
        ("file.registered", b'{"x":1}', "event 13 of type file.registered cannot be", "refold ver"),
    ],
)
def test_an_event_that_cannot_be_read_is_named_with_the_tables_that_it_stops(
    in_sqlite: Url, type: str, data: bytes, told: str, mend: str
) -> None:
    with open_store(in_sqlite) as store:
        register(store, "six")
        write = Write("file-odd", 0, (NewEvent(type, 1, data, b"{}"),))
        store.log.append([Command("odd", (write,))])
        store.folder.catch_up(wanted=())

    finding = only(in_sqlite)

    assert (finding.check, finding.level) == ("stopped", "problem")
    assert finding.what.startswith(f"tables {', '.join(STOPPED)} stopped before event 13: {told}")
    assert finding.mend.startswith(mend)


STOPPED: Final = sorted(each.NAME for each in catalog.ALL if "file" in each.KINDS)


def test_an_event_of_which_a_table_cannot_tell_the_rows_is_named(
    in_sqlite: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys(event: object) -> list[tuple[str]]:
        raise KeyError("hunter2")

    monkeypatch.setattr(files, "keys", keys)
    with open_store(in_sqlite) as store:
        register(store, "six")
        with pytest.raises(Unfoldable):
            store.folder.catch_up()

    findings = found(in_sqlite)

    assert [each.check for each in findings] == ["stopped"]
    assert findings[0].what.startswith("table files stopped before event 12: table files cannot")
    assert "hunter2" not in str(findings)


def test_rows_that_are_parked_are_counted_and_the_first_is_explained(
    url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = files.apply

    def apply(key: Any, row: Any, event: Any) -> Any:  # more than an engine can keep
        after: Any = right(key, row, event)
        return after._replace(ban_set=1 << 80)

    monkeypatch.setattr(files, "apply", apply)
    with open_store(url) as store:
        register(store, "six")
        register(store, "seven")
        store.folder.catch_up()

    finding = only(url)

    assert (finding.check, finding.level) == ("parked", "problem")
    assert finding.what.startswith("2 rows of table files are parked, the first one at event 13: ")
    assert finding.mend.startswith("refold retry files --store ")

    with owner(url, tables=True) as session:
        session.execute("UPDATE projections SET fingerprint = 'x' WHERE name = 'files'")
    stale = found(url)

    assert [each.check for each in stale] == ["parked", "version"]
    assert {each.mend.partition(" --store ")[0] for each in stale} == {"refold rebuild files"}


def test_a_table_of_another_version_is_to_be_rebuilt(url: Url) -> None:
    with owner(url, tables=True) as session:
        session.execute(
            "UPDATE projections SET version = 99, fingerprint = 'x' WHERE name = 'files'"
        )

    finding = only(url)

    assert (finding.check, finding.level) == ("version", "problem")
    assert finding.what.startswith("table files was folded by version 99, this refold has version")
    assert finding.mend.startswith("refold rebuild files --store ")


def test_a_log_from_an_old_backup_is_behind_its_tables(url: Url) -> None:
    tamper(url, "DELETE FROM events WHERE position > 9")

    finding = only(url)

    assert (finding.check, finding.level) == ("position", "problem")
    assert "position 11, where the log, which ends at 9, now holds another event" in finding.what
    assert finding.mend.startswith("refold rebuild --store ")


def test_a_log_that_went_on_in_another_way_does_not_fit_its_tables(in_sqlite: Url) -> None:
    tamper(in_sqlite, "DELETE FROM events WHERE position > 9")
    with open_store(in_sqlite) as store:
        for name in ("six", "seven", "eight"):
            register(store, name)

    assert only(in_sqlite).check == "position"


# --- locks --------------------------------------------------------------------------------


def test_a_session_that_keeps_a_table_locked_is_named_but_not_what_it_asks(
    in_postgres: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_checks, "HELD_SECONDS", 0.1)
    with owner(in_postgres) as session:
        session.execute("BEGIN; LOCK TABLE files_1, events IN ACCESS EXCLUSIVE MODE")
        session.execute("SELECT 'hunter2'")
        time.sleep(0.15)

        finding = only(in_postgres)

        pid = session.info.backend_pid
        assert (finding.check, finding.level) == ("lock", "problem")
        assert f"process {pid} (SELECT, idle in transaction)" in finding.what
        assert "it holds events in AccessExclusiveLock, " in finding.what
        assert "files_1 in AccessExclusiveLock" in finding.what
        assert "hunter2" not in str(finding)
        type_in(in_postgres, finding.mend)
        with suppress(psycopg.OperationalError):
            session.execute("SELECT 1")
        assert session.closed


def test_a_session_that_keeps_folders_out_is_named_with_those_that_wait(
    in_postgres: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_checks, "HELD_SECONDS", 0.1)
    fence = "SELECT pg_advisory_xact_lock(hashtextextended('refold tables refold current', 0))"
    with (
        owner(in_postgres) as session,
        owner(in_postgres) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        session.execute("BEGIN")
        session.execute(fence)
        session.execute("UPDATE heads SET state = state")
        waiting = pool.submit(other.execute, "UPDATE heads SET state = state")
        time.sleep(0.3)

        finding = only(in_postgres)
        session.execute("ROLLBACK")
        waiting.result(10)

        assert "(UPDATE, idle in transaction)" in finding.what
        assert finding.what.endswith("and keeps 1 waiting; it holds the fence of folding")


def test_a_session_that_is_at_work_for_a_moment_is_no_finding(in_postgres: Url) -> None:
    with owner(in_postgres) as session:
        session.execute("BEGIN; LOCK TABLE files_1 IN EXCLUSIVE MODE")

        assert found(in_postgres) == []


@pytest.mark.parametrize("name", ["store.db", "store.db-tables"])
def test_a_file_that_another_process_keeps_locked_is_named(
    in_sqlite: Url, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(sqlite_checks, "LOCK_SECONDS", 0.1)
    with closing(sqlite3.connect(tmp_path / name, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        finding = only(in_sqlite)

    assert (finding.check, finding.level) == ("lock", "problem")
    assert str(tmp_path / name) in finding.what
    assert finding.mend == f"fuser --verbose {tmp_path / name}"


# --- the vault and blobs ------------------------------------------------------------------


def test_a_key_that_is_missing_or_wrong_is_told_and_not_shown(
    url: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFOLD_VAULT_KEY")
    missing = only(url)
    for key in ("66" * 32, "hunter2"):
        monkeypatch.setenv("REFOLD_VAULT_KEY", key)
        wrong = only(url)

        assert (wrong.check, wrong.level, wrong.mend) == missing[:2] + missing[3:]
        assert key not in str(wrong)

    assert (missing.check, missing.level) == ("vault", "problem")
    assert missing.what.startswith("this store has sealed fields, and ")
    assert missing.mend.startswith("export REFOLD_VAULT_KEY=")


def test_tables_that_stop_for_want_of_the_key_ask_for_it(
    in_sqlite: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(in_sqlite) as store:
        fields = {"id": "1", "profile": {"title": "Dr"}}
        commands.run(store, "user.change", fields, command_id="6", actor="ada")
    monkeypatch.delenv("REFOLD_VAULT_KEY")

    findings = {each.check: each for each in found(in_sqlite)}

    assert set(findings) == {"vault", "stopped", "behind"}
    assert "users" in findings["stopped"].what
    assert findings["stopped"].mend == findings["vault"].mend


def test_keys_that_were_altered_are_told(url: Url) -> None:
    for change in (
        "UPDATE keys SET key = (SELECT key FROM keys WHERE subject = '~vault')",
        "DELETE FROM keys WHERE subject = '~vault'",
    ):
        with owner(url) as session:
            session.execute(change)

        finding = next(each for each in found(url) if each.check == "vault")

        assert finding.what == "keys of sealed fields were altered or removed"
    with owner(url) as session:
        left = session.execute("SELECT subject FROM keys").fetchall()
    assert left == [("user-1",)]  # none was made by looking


def test_a_blob_that_is_missing_or_altered_is_named_with_its_event(
    url: Url, tmp_path: Path
) -> None:
    [path] = [each for each in (tmp_path / "blobs").rglob("*") if each.name.endswith(HELLO)]
    path.chmod(0o600)
    path.write_bytes(b"hellp")
    altered = only(url)
    path.unlink()
    missing = only(url)

    assert (altered.check, altered.level) == (missing.check, missing.level) == ("blobs", "problem")
    assert altered.what.startswith(f"blob {HELLO} is damaged")
    assert missing.what == f"there is no blob {HELLO}; event 6 refers to it"
    assert missing.mend.startswith("refold copy COPY ")


def test_blobs_that_no_event_refers_to_are_a_warning(in_sqlite: Url) -> None:
    with open_store(in_sqlite) as store:
        orphan = store.blobs.put([b"nobody's"]).sha256

    finding = only(in_sqlite)

    assert (finding.check, finding.level) == ("blobs", "warning")
    assert finding.what == f"no event refers to some blobs, in number 1, such as {orphan}"
    assert finding.mend.startswith(f"refold verify {in_sqlite} --json ")


def test_blobs_without_a_place_are_a_problem(
    in_postgres: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REFOLD_BLOBS")

    finding = only(in_postgres)

    assert (finding.check, finding.mend) == ("blobs", "export REFOLD_BLOBS=FOLDER")


# --- settings -----------------------------------------------------------------------------


def test_a_setting_of_the_database_that_may_lose_commits_is_a_warning(in_postgres: Url) -> None:
    name = urlsplit(in_postgres).path[1:]
    with psycopg.connect(in_postgres, autocommit=True) as session:
        session.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())

    finding = only(in_postgres)
    type_in(in_postgres, finding.mend)

    assert (finding.check, finding.level) == ("settings", "warning")
    assert finding.what.startswith("synchronous_commit is off: a crash may lose commands")
    assert found(in_postgres) == []


def test_settings_of_the_server_that_may_damage_the_log_are_warnings(
    in_postgres: Url, server: Url
) -> None:
    with psycopg.connect(server, autocommit=True) as session:
        try:
            session.execute("ALTER SYSTEM SET fsync = off")
            session.execute("ALTER SYSTEM SET full_page_writes = off")
            reload(session)
            findings = found(in_postgres)
            for finding in findings:
                type_in(in_postgres, finding.mend)
            reload(session)

            assert found(in_postgres) == []
        finally:
            session.execute("ALTER SYSTEM RESET ALL")
            reload(session)

    assert [each.what.partition(":")[0] for each in findings] == [
        "fsync is off",
        "full_page_writes is off",
    ]
    assert {each.level for each in findings} == {"warning"}


def reload(session: psycopg.Connection) -> None:
    session.execute("SELECT pg_reload_conf()")
    time.sleep(0.2)


def test_a_connection_over_the_network_that_is_not_encrypted_is_a_warning(
    in_postgres: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_INSECURE_TLS", "1")
    host = in_postgres.replace("127.0.0.1", "db.example")

    finding = only(f"{host}?hostaddr=127.0.0.1&sslmode=disable")

    assert (finding.check, finding.level) == ("settings", "warning")
    assert finding.what.startswith("the connection to db.example is not encrypted")


def test_a_server_that_checks_no_pages_is_a_warning(own_blobs: None) -> None:
    with a_server() as cluster:
        open_store(cluster.url, create=True).close()
        cluster.stop("fast")
        tool = Path(cluster.command[0]).parent / "pg_checksums"
        subprocess.run(
            [tool, "--disable", "--no-sync", "--pgdata", cluster.home / "data"],
            cwd=cluster.home,
            user=cluster.account.user,
            group=cluster.account.group,
            check=True,
            capture_output=True,
        )
        cluster.start()

        finding = only(cluster.url)

    assert (finding.check, finding.level) == ("settings", "warning")
    assert finding.what.startswith("data_checksums is off: ")
    assert finding.mend.startswith("pg_checksums --enable ")


def test_files_that_everybody_can_read_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFOLD_VAULT_KEY")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        monkeypatch.setenv("REFOLD_BLOBS", f"{path}-blobs")
        url = filled(f"sqlite:///{path}")
        Path(folder).chmod(0o755)
        kept = [path, Path(f"{path}-tables"), Path(f"{path}-blobs")]
        for each in kept:
            each.chmod(0o755 if each.is_dir() else 0o644)
        Path(f"{path}-vault-key").chmod(0o640)

        findings = found(url)
        for finding in findings:
            mode, file = shlex.split(finding.mend)[1:]
            Path(file).chmod(int(mode, 8))

        assert [each.level for each in findings] == ["warning"] * 4
        assert "vault-key is not for its owner alone (mode 640)" in findings[0].what
        assert [each.what.split()[7] for each in findings[1:]] == list(map(str, kept))
        assert found(url) == []
        Path(folder).chmod(0o700)
        path.chmod(0o644)  # nobody else comes that far
        assert found(url) == []


def test_a_connection_that_does_not_wait_for_the_disk_is_a_warning(tmp_path: Path) -> None:
    with closing(connect(tmp_path / "any.db")) as driver:
        as_made = list(sqlite_checks.unsafe(driver))
        driver.execute("PRAGMA synchronous = NORMAL")
        [finding] = sqlite_checks.unsafe(driver)

    assert as_made == []
    assert (finding.check, finding.level) == ("settings", "warning")


# --- the schema, and stores that do not answer --------------------------------------------


def test_the_schema_of_another_refold_is_a_problem(url: Url) -> None:
    for version, mend in (("0001", "refold init --store "), ("9999", "pip install ")):
        with owner(url) as session:
            session.execute(f"UPDATE alembic_version SET version_num = '{version}'")

        finding = only(url)

        assert (finding.check, finding.level) == ("schema", "problem")
        assert f"schema {version}" in finding.what
        assert finding.mend.startswith(mend)


def test_a_store_that_is_not_there_is_told_how_to_make(tmp_path: Path, server: Url) -> None:
    for url in (f"sqlite:///{tmp_path / 'none.db'}", f"{server}?schema=nowhere"):
        report = examined(url)

        [finding] = [each for each in report.findings if each.check == "log"]
        assert not report.is_reachable
        assert finding.mend.startswith("refold init --store ")
    assert not (tmp_path / "none.db").exists()


def test_a_log_that_does_not_answer_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "no.db").write_bytes(b"this is no database" * 100)
    for url in (
        f"sqlite:///{tmp_path / 'no.db'}",
        "postgresql://ada:hunter2@127.0.0.1:1/files",
    ):
        report = examined(url)

        [finding] = report.findings
        assert (report.is_reachable, report.is_well) == (False, False)
        assert (finding.check, finding.level) == ("log", "problem")
        assert "cannot be used" in finding.what
        assert "hunter2" not in str(report)


# --- the command --------------------------------------------------------------------------


def test_the_exit_code_tells_problems_from_warnings(in_sqlite: Url, tmp_path: Path) -> None:
    def doctor(*arguments: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, ["doctor", "--store", in_sqlite, *arguments])
        return result.exit_code, result.stdout

    well = doctor()
    well_as_json = doctor("--json")
    with open_store(in_sqlite) as store:
        register(store, "six")
    warned = doctor()
    with owner(in_sqlite) as session:
        session.execute("DROP TRIGGER events_are_not_deleted")
    wrong = doctor()
    wrong_as_json = doctor("--json")
    (tmp_path / "store.db").unlink()
    away = doctor("--json")

    assert [code for code, _ in (well, well_as_json, warned, wrong, away)] == [0, 0, 0, 1, 4]
    assert " ".join(well[1].split()).startswith(f"nothing is wrong with {in_sqlite} up to ")
    assert json.loads(well_as_json[1])["findings"] == []
    assert warned[1].startswith("warning: behind: ")
    assert wrong[1].startswith("problem: guards: ")
    assert "\n  sqlite3 " in wrong[1]
    document = json.loads(wrong_as_json[1])
    assert (document["ok"], document["reachable"], document["position"]) == (False, True, 12)
    assert [set(each) for each in document["findings"]] == [{"check", "level", "what", "mend"}] * 2
    assert json.loads(away[1])["reachable"] is False


# --- the one who breaks things ------------------------------------------------------------


@contextmanager
def owner(url: Url, *, tables: bool = False) -> Iterator[Any]:
    """Connect as the owner of the log, or of the query tables."""
    place = of_environment().address(url)
    if isinstance(place, Sqlite):
        path = place.tables if tables else place.path
        with closing(sqlite3.connect(path, isolation_level=None)) as session:
            yield session
        return
    with psycopg.connect(url.partition("?")[0], autocommit=True) as session:
        session.execute("SET search_path = refold")
        yield session


def tamper(url: Url, statement: str, *parameters: object) -> list[Any]:
    """Run a statement on the log with its guards down; they are up again afterwards."""
    with owner(url) as session:
        if isinstance(session, sqlite3.Connection):
            query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
            triggers = session.execute(query).fetchall()
            for name, _ in triggers:
                session.execute(f"DROP TRIGGER {name}")
            rows = session.execute(statement, parameters).fetchall()
            for _, sql in triggers:
                session.execute(sql)
            return rows
        session.execute("ALTER TABLE events DISABLE TRIGGER USER")
        cursor = session.execute(statement.replace("?", "%s"), parameters)
        rows = cursor.fetchall() if cursor.description else []
        session.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER events_are_not_changed")
        return rows


def type_in(url: Url, command: str) -> None:
    """Run what psql or sqlite3 would be told, on the same database."""
    program, _, *words = shlex.split(command)
    with owner(url) as session:
        if program == "sqlite3":
            session.executescript(words[0])
        else:
            assert program == "psql"
            for option, statement in zip(words[::2], words[1::2], strict=True):
                assert option == "-c"
                session.execute(statement)


def contents(url: Url) -> object:
    """Return all that a store holds: the bytes of its files, or the rows of its tables."""
    place = of_environment().address(url)
    if isinstance(place, Sqlite):
        folder = place.path.parent
        return {each: each.read_bytes() for each in folder.rglob("*") if each.is_file()}
    with owner(url) as session:
        names = session.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
            " AND relkind = 'r' ORDER BY 1"
        ).fetchall()
        return {name: session.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names}
