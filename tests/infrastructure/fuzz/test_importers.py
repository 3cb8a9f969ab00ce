"""Whatever a file has become, an import takes what it can, accounts for it, or refuses by name."""

import io
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from gzip import decompress
from itertools import count
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Final
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from refold.domain.errors import Failure, Refused, Unreadable
from refold.domain.ports import State
from refold.domain.positions import PARTITION
from refold.infrastructure.address import Archive, Memory
from refold.infrastructure.archive import writing
from refold.infrastructure.archive.filling import fill, survey
from refold.infrastructure.archive.format import (
    Malformed,
    block_frame,
    end_frame,
    event_line,
    header_frame,
    keys_frame,
    read_event,
)
from refold.infrastructure.archive.reading import Reading, events, opened
from refold.infrastructure.blobs.memory import MemoryBlobs
from refold.infrastructure.chain import genesis, link
from refold.infrastructure.config import of_environment
from refold.infrastructure.legacy.decentcom.importing import import_decentcom
from refold.infrastructure.legacy.git_proxy.importing import import_git_proxy
from refold.infrastructure.legacy.importing import Report
from refold.infrastructure.legacy.pinshare.importing import import_pinshare
from refold.infrastructure.memory.log import MemoryLog
from refold.infrastructure.open import assembled, open_store
from refold.infrastructure.sqlite.rows import tables_in_memory
from refold.infrastructure.store import Store
from refold.infrastructure.vault_key import GivenKey
from refold.scripts import command
from refold.tests.infrastructure.faults.invariant import check
from refold.tests.infrastructure.fuzz.mutations import Step, anything, damage, mistakes, mutated

DATA: Final = Path(__file__).parents[2] / "data"
NEDB, MONGO = DATA / "git-proxy/small/nedb", DATA / "git-proxy/small/mongo"
EXAMPLES: Final = count(1)
LONGEST: Final = 2_000
"""Characters of a line of a sample: what is longer only takes longer."""


@pytest.fixture(scope="module", autouse=True)
def vault_key() -> Iterator[None]:
    """The key of sealed fields, which every store here has."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
        yield


@pytest.fixture
def store() -> Iterator[Store]:
    """A store that takes all examples of a test, and has to be well in the end."""
    with open_store("memory:") as store:
        yield store
        check(store)


one_store = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
few = settings(max_examples=5 if settings().max_examples < 1_000 else 1_000)  # a store for each


# --- PinShare -------------------------------------------------------------------------


def metadata(name: str) -> bytes:
    """The first records of a file."""
    records = json.loads((DATA / "pinshare" / name).read_bytes())
    return json.dumps(dict(list(records.items())[:4]), indent=2).encode()


PINSHARE: Final = tuple(map(metadata, ("metadata.v0.1.1.json", "metadata.booltags.json")))


@one_store
@given(st.sampled_from(PINSHARE), anything())
def test_a_file_of_pinshare_is_taken_or_refused_whatever_it_has_become(
    store: Store, content: bytes, wrong: list[Step]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "metadata.json")
        path.write_bytes(mutated(content, wrong))

        imported_or_refused(store, lambda source: import_pinshare(store, path, source=source))


# --- git-proxy ------------------------------------------------------------------------


def collections(folder: Path) -> Mapping[str, bytes]:
    """The first documents of each file: enough that one may be corrupt."""
    found = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        lines = (decompress(content) if path.suffix == ".gz" else content).splitlines(keepends=True)
        found[path.name.removesuffix(".gz")] = b"".join(
            [line for line in lines if len(line) < LONGEST][:12]
        )
    return found


GIT_PROXY: Final = tuple(map(collections, (NEDB, MONGO)))


@one_store
@given(st.sampled_from(GIT_PROXY), st.integers(0, 9), anything())
def test_a_file_of_git_proxy_is_taken_or_refused_whatever_it_has_become(
    store: Store, files: Mapping[str, bytes], which: int, wrong: list[Step]
) -> None:
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            Path(folder, name).write_bytes(content)
        broken = Path(folder, sorted(files)[which % len(files)])
        broken.write_bytes(mutated(broken.read_bytes(), wrong))

        imported_or_refused(
            store, lambda source: import_git_proxy(store, [Path(folder)], source=source)
        )


# --- decentcom ------------------------------------------------------------------------

MEDIA: Final = DATA / "decentcom/media"
TABLES: Final = ("users", "user_devices", "sessions", "media", "attachments", "_sqlx_migrations")
CELLS: Final = (
    *(None, 0, -1, 2**63 - 1, -(2**63), 1.5, float("inf"), "", " ", "a\0b", "\x1b", "x" * 300),
    *(b"", b"\xff\xfe", b"bytes", "9999-12-31T23:59:60Z", "0001-01-01", "1e400", "{}", "[1]"),
)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rows of each table, with pages of a size that leaves more of them."""
    path = tmp_path_factory.mktemp("decentcom") / "decentcom.db"
    path.write_bytes(decompress((DATA / "decentcom/decentcom.db.gz").read_bytes()))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA foreign_keys = off")
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE '%sqlx%'"
        ).fetchall():
            connection.execute(f'DELETE FROM "{table}" WHERE rowid > 4')
        connection.execute("PRAGMA journal_mode = delete")
        connection.execute("VACUUM")
    return path


@one_store
@given(damage())
def test_a_database_of_decentcom_is_taken_or_refused_however_it_is_damaged(
    store: Store, database: Path, wrong: list[Step]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "decentcom.db")
        path.write_bytes(mutated(database.read_bytes(), wrong))

        imported_or_refused(
            store, lambda source: import_decentcom(store, path, MEDIA, source_name=source)
        )


Cells = list[tuple[str, int, int, object]]


@one_store
@given(
    st.lists(
        st.tuples(
            st.sampled_from(TABLES), st.integers(0, 19), st.integers(0, 3), st.sampled_from(CELLS)
        ),
        min_size=1,
        max_size=4,
    )
)
@example(cells=[("_sqlx_migrations", 0, 0, None)])
def test_a_database_of_decentcom_is_taken_or_refused_whatever_its_cells_are(
    store: Store, database: Path, cells: Cells
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "decentcom.db")
        copy(database, path)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for table, column, row, value in cells:
                names = [each[1] for each in connection.execute(f"PRAGMA table_info({table})")]
                name = names[column % len(names)]
                odd = "CAST(? AS TEXT)" if value == b"\xff\xfe" else "?"
                with suppress(sqlite3.IntegrityError):
                    connection.execute(
                        f'UPDATE {table} SET "{name}" = {odd} WHERE rowid = '
                        f"(SELECT rowid FROM {table} LIMIT 1 OFFSET ?)",
                        (value, row),
                    )

        imported_or_refused(
            store, lambda source: import_decentcom(store, path, MEDIA, source_name=source)
        )


# --- archives -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of every kind of command, with the keys of its sealed fields."""
    path = tmp_path_factory.mktemp("archive") / "backup.zst"
    with new_store() as store:
        answers(store, COMMANDS)
        writing.write(store, Archive(path), with_keys=True)
    return path


@given(damage())
def test_an_archive_fills_a_store_or_is_refused_however_it_is_damaged(
    archive: Path, wrong: list[Step]
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "backup.zst")
        path.write_bytes(mutated(archive.read_bytes(), wrong))

        filled_or_refused(Archive(path))


@few
@given(st.integers(0, 99), mistakes())
def test_an_archive_opens_no_store_with_less_than_it_has_whatever_its_events_are(
    archive: Path, which: int, wrong: list[Step]
) -> None:
    """Chain, counts and SHA-256 are those of the odd event: somebody wrote it so."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "backup.zst")
        with opened(Archive(archive)) as file:
            reading = Reading(Archive(archive), file)
            records = [record for block in events(reading) for record in block]
        at = which % len(records)
        with suppress(Malformed):
            odd = read_event(mutated(event_line(records[at]), wrong), PARTITION)
            records[at] = records[at]._replace(
                type=odd.type, schema=odd.schema, data=odd.data, metadata=odd.metadata
            )
        state = genesis(PARTITION)
        for record in records:
            state = link(state, record)
        frames = [header_frame(reading.header), block_frame(records, state, ())]
        frames += [keys_frame(reading.keys or ()), end_frame(len(records), state)]
        path.write_bytes(b"".join(frames))

        filled_or_refused(Archive(path))


def new_store() -> Store:
    """Return an empty store in memory that can open the keys of another."""
    log, tables, key = MemoryLog(), tables_in_memory(), GivenKey("5a" * 32)
    return assembled(Memory(), log, tables, key, MemoryBlobs(), of_environment())


def filled_or_refused(place: Archive) -> None:
    """See that a store is filled with all of it, or is not opened."""
    with new_store() as store:
        try:
            first = fill(survey(place), store, without_keys=True)
            again = fill(survey(place), store, without_keys=True)
        except Failure as refusal:
            assert_named(refusal)
            [head] = store.log.heads()
            assert head.position == 0 or head.state is State.FILLING
        else:
            event("filled")
            assert (first.positions, first.differences) == (again.positions, again.differences)
            if head_of(store) and store.log.heads()[0].state is State.OPEN:
                check(store)


# --- commands -------------------------------------------------------------------------

PROFILE: Final = {"username": "ada@", "email": "ada@@example.org", "gitAccount": "ada-gh"}
PUSH: Final = {"id": "a__@", "type": "push", "url": "https://example.org/a.git", "timestamp": 17}
COMMANDS: Final = b"\n".join(
    json.dumps({"name": name, "command_id": f"id-@-{number}", "data": data}).encode()
    for number, (name, data) in enumerate(
        [
            ("file.register", {"sha256": "@", "cid": "bafy1", "name": "paper.pdf", "type": "pdf"}),
            ("tag_vote.cast", {"sha256": "@", "tag": "physics", "voter": "ada", "stance": 1}),
            ("file.ban", {"sha256": "@", "code": 9}),
            ("user.register", {"id": "@", "profile": PROFILE, "password_hash": "$2b$10$x"}),
            ("user.add_key", {"id": "@", "record": {"key": "ssh-rsa AAAA@"}}),
            ("repo.register", {"id": "@", "document": {"url": "https://a.example/@.git"}}),
            ("push.record", {"document": PUSH}),
            ("push.authorise", {"id": "a__@", "attestation": {"answers": [{"checked": True}]}}),
            ("session.set", {"sid": "@", "body": "b", "expires_at": "2990-01-01T00:00:00Z"}),
        ]
    )
)
"""Each `@` is another number for each example."""

OUTCOMES: Final = {"appended", "duplicate", "unchanged", "refused", "conflict"}


@one_store
@given(anything())
def test_each_line_of_commands_is_answered_whatever_it_has_become(
    store: Store, wrong: list[Step]
) -> None:
    lines = mutated(COMMANDS.replace(b"@", b"%d" % next(EXAMPLES)), wrong)

    first = answers(store, lines)
    before = head_of(store)
    again = answers(store, lines)

    assert len(first) == sum(bool(line.strip()) for line in lines.split(b"\n"))
    assert {each["outcome"] for each in (*first, *again)} <= OUTCOMES
    assert max((len(str(each.get("message", ""))) for each in first), default=0) < LONGEST
    for each, later in zip(first, again, strict=True):
        if each["outcome"] == "appended" and str(each["command_id"]).startswith("id-"):
            assert later["outcome"] == "duplicate", (each, later)
    # What was refused may go in later, behind what it needs; all else goes in once.
    if all(
        str(later["command_id"]).startswith("id-")
        and (each["outcome"] == "appended" or later["outcome"] != "appended")
        for each, later in zip(first, again, strict=True)
    ):
        assert head_of(store) == before


def answers(store: Store, text: bytes) -> list[dict[str, object]]:
    """Return what `refold command --lines` answers."""
    stdout = io.TextIOWrapper(io.BytesIO())
    with (
        patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(text))),
        patch.object(sys, "stdout", stdout),
    ):
        command._run_lines(store, "ada")
    assert isinstance(stdout.buffer, io.BytesIO)
    return [json.loads(line) for line in stdout.buffer.getvalue().splitlines()]


# --- what holds for all ---------------------------------------------------------------


def imported_or_refused(store: Store, work: Callable[[str], Report]) -> None:
    """See that each record is accounted for, and again nothing new; or that nothing is done."""
    source, before = f"example {next(EXAMPLES)}", head_of(store)
    try:
        first = work(source)
    except Failure as refusal:
        assert_named(refusal)
        assert head_of(store) == before
        return
    after = head_of(store)
    event(f"taken, refused {min(len(first.refused), 3)}")
    again = work(source)

    assert first.records == first.imported + first.unchanged + len(first.refused)
    assert all(len(refusal.reason) < LONGEST for refusal in first.refused)
    assert first.events == after - before
    assert (again.events, head_of(store)) == (0, after), again


def assert_named(refusal: Failure) -> None:
    event(type(refusal).__name__)
    assert isinstance(refusal, Refused | Unreadable), repr(refusal)
    assert len(str(refusal)) < LONGEST
    assert "\n" not in str(refusal)


def head_of(store: Store) -> int:
    return store.log.heads()[PARTITION].position
