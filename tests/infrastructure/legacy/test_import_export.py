"""PinShare's files through a store and back, on every engine: nothing lost, nothing doubled."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import StringIO
from itertools import count
from pathlib import Path
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from refold.domain.errors import BadInput
from refold.infrastructure import commands
from refold.infrastructure.address import Memory, Sqlite
from refold.infrastructure.legacy.importing import Report
from refold.infrastructure.legacy.large_object import Truncated
from refold.infrastructure.legacy.pinshare.exporting import export_pinshare
from refold.infrastructure.legacy.pinshare.importing import import_pinshare
from refold.infrastructure.open import open_store
from refold.infrastructure.services.files import show_file
from refold.infrastructure.store import Store
from refold.projections import catalog

TESTS = Path(__file__).parents[2]
REAL = {
    path.name: path
    for path in [
        TESTS.parent / "scripts" / "demo-data" / "metadata.small.json",
        *(TESTS / "data" / "pinshare").glob("metadata.*.json"),
    ]
}
SMALL = REAL["metadata.small.json"]
EXPECTED = json.loads((TESTS / "data" / "pinshare" / "expected.json").read_text("utf-8"))
SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
REFOLD_IN_SMALL_STEPS = [
    sys.executable,
    "-c",
    (
        "from refold.infrastructure.legacy import importing; importing.BATCH = 50;"
        "from refold.scripts.cli import main; main()"
    ),
]
LATER = "2999-01-01T00:00:00Z"

ENGINES = ["memory", "sqlite", "postgresql"]
DATABASE = f"refold_test_{os.urandom(6).hex()}"
NUMBERS = count()

Documents = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def database(postgres: str) -> Iterator[str]:
    """The url of a database whose schemas the tests of this module share out."""
    with psycopg.connect(postgres, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0".encode())
        yield urlsplit(postgres)._replace(path=f"/{DATABASE}").geturl()
        server.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)".encode())


@pytest.fixture
def new_address(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """What makes the address of a store that is not there yet, on any engine."""
    return lambda engine: an_address(engine, request, tmp_path)


@pytest.fixture(params=ENGINES)
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return an_address(request.param, request, tmp_path)


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    with open_store(address, create=True) as store:
        yield store


@pytest.fixture(scope="module", params=[(engine, name) for engine in ENGINES for name in REAL])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Store, Report]]:
    """The name of a real file, a store that it was imported into, and the import's report."""
    engine, name = request.param
    address = an_address(engine, request, tmp_path_factory.mktemp("filled"))
    with open_store(address, create=True) as store:
        yield name, store, import_pinshare(store, REAL[name])


# --- there and back ---------------------------------------------------------------


def test_every_record_of_a_real_file_is_imported(filled: tuple[str, Store, Report]) -> None:
    name, store, report = filled

    assert report.refused == []
    assert (report.records, report.imported) == (EXPECTED[name]["records"],) * 2
    assert (report.unchanged, report.events) == (0, head(store))


def test_a_real_file_comes_back_byte_for_byte(filled: tuple[str, Store, Report]) -> None:
    name, store, _ = filled
    original = REAL[name].read_text("utf-8")

    text = exported(store)

    if name == "metadata.booltags.json":  # which has true and false where counts are today
        assert json.loads(text) == with_counts(json.loads(original))
    else:
        assert text == original


def test_field_names_in_another_case_come_back_in_the_proper_one(
    store: Store, tmp_path: Path
) -> None:
    renamed: dict[str, str] = {
        "fileName": "FILENAME",
        "ipfsCID": "ipfscid",
        "tags": "Tags",
        "banSet": "banset",
    }
    small: Documents = json.loads(SMALL.read_text("utf-8"))
    odd = {
        key: {renamed.get(name, name): value for name, value in fields.items()}
        for key, fields in small.items()
    }

    report = import_pinshare(store, written(tmp_path, odd))

    assert report.imported == len(small)
    assert exported(store) == SMALL.read_text("utf-8")


def test_a_store_without_files_is_exported_as_an_empty_object(store: Store) -> None:
    assert exported(store) == "{}"


@pytest.mark.parametrize("nothing", ["", "null", "{}"])
def test_a_file_without_records_imports_nothing(store: Store, tmp_path: Path, nothing: str) -> None:
    path = tmp_path / "metadata.json"
    path.write_text(nothing)

    report = import_pinshare(store, path)

    assert (report.records, report.events, head(store)) == (0, 0, 0)


def test_what_commands_did_is_exported_too(store: Store) -> None:
    register = {"sha256": SHA, "cid": "Qm", "name": "a<b>.pdf", "type": "pdf", "added_at": LATER}
    run(store, "file.register", **register)
    run(store, "tag_vote.cast", sha256=SHA, tag="LENR", voter="ada", stance=1)
    run(store, "removal_vote.cast", sha256=SHA, voter="ada", stance=-1)
    run(store, "file.ban", sha256=SHA, code=9)

    [fields] = json.loads(exported(store)).values()

    assert fields.pop("lastUpdated") == show_file(store, SHA).last_updated
    assert fields == {
        "fileSHA256": SHA,
        "ipfsCID": "Qm",
        "fileName": "a<b>.pdf",
        "fileType": "pdf",
        "addedAt": LATER,
        "moderationVotes": -1,
        "tags": {"LENR": 1},
        "banSet": 9,
    }


# --- again and again --------------------------------------------------------------


def test_a_second_import_changes_nothing(store: Store) -> None:
    import_pinshare(store, SMALL)
    before = head(store)

    again = import_pinshare(store, SMALL)

    assert (again.imported, again.unchanged, again.events) == (0, again.records, 0)
    assert head(store) == before


def test_a_then_b_then_a_ends_at_a(store: Store, tmp_path: Path) -> None:
    small = json.loads(SMALL.read_text("utf-8"))
    other = written(tmp_path, {key: changed(fields) for key, fields in small.items()})

    for path, text in [(SMALL, SMALL), (other, other), (SMALL, SMALL)]:
        report = import_pinshare(store, path)

        assert report.imported == report.events == len(small)
        assert json.loads(exported(store)) == json.loads(text.read_text("utf-8"))

    assert exported(store) == SMALL.read_text("utf-8")
    assert import_pinshare(store, SMALL).events == 0


def test_only_the_record_that_changed_is_imported_again(store: Store, tmp_path: Path) -> None:
    small = json.loads(SMALL.read_text("utf-8"))
    import_pinshare(store, SMALL)
    key = next(iter(small))
    small[key] = changed(small[key])

    report = import_pinshare(store, written(tmp_path, small))

    assert (report.imported, report.unchanged) == (1, len(small) - 1)


def test_space_and_order_are_no_change(store: Store, tmp_path: Path) -> None:
    import_pinshare(store, SMALL)
    small = json.loads(SMALL.read_text("utf-8"))
    path = tmp_path / "compact.json"
    path.write_text(
        json.dumps({key: dict(reversed(small[key].items())) for key in reversed(small)})
    )

    assert import_pinshare(store, path).unchanged == len(small)


def test_each_source_has_a_last_import_of_its_own(store: Store, tmp_path: Path) -> None:
    one = written(tmp_path, {SHA: record(fileName="one")}, "one.json")
    two = written(tmp_path, {SHA: record(fileName="two")}, "two.json")
    import_pinshare(store, one, source="node-1")
    import_pinshare(store, two, source="node-2")

    again = import_pinshare(store, one, source="node-1")

    assert (again.unchanged, show_file(store, SHA).name) == (1, "two")


def test_own_votes_survive_another_import(store: Store, tmp_path: Path) -> None:
    import_pinshare(store, written(tmp_path, {SHA: record(tags={"a": 2, "b": 1})}))
    run(store, "tag_vote.cast", sha256=SHA, tag="a", voter="ada", stance=1)
    run(store, "tag_vote.cast", sha256=SHA, tag="b", voter="ada", stance=1)
    run(store, "removal_vote.cast", sha256=SHA, voter="ada", stance=-1)

    import_pinshare(
        store, written(tmp_path, {SHA: record(tags={"a": 10, "c": 5}, moderationVotes=7)})
    )

    assert show_file(store, SHA).tags == {"a": 11, "c": 5}
    assert show_file(store, SHA).moderation_votes == 6


def test_votes_on_a_tag_that_was_gone_meanwhile_do_not_count(store: Store, tmp_path: Path) -> None:
    with_tag = written(tmp_path, {SHA: record(tags={"a": 2})}, "with.json")
    without = written(tmp_path, {SHA: record(tags=None)}, "without.json")
    import_pinshare(store, with_tag)
    run(store, "tag_vote.cast", sha256=SHA, tag="a", voter="ada", stance=1)
    assert show_file(store, SHA).tags == {"a": 3}

    import_pinshare(store, without)
    assert show_file(store, SHA).tags == {}
    import_pinshare(store, with_tag)

    assert show_file(store, SHA).tags == {"a": 2}


def test_a_ban_given_here_ends_with_the_next_record_that_differs(
    store: Store, tmp_path: Path
) -> None:
    import_pinshare(store, written(tmp_path, {SHA: record()}))
    run(store, "file.ban", sha256=SHA, code=9)

    import_pinshare(store, written(tmp_path, {SHA: record()}))
    assert show_file(store, SHA).ban_set == 9
    import_pinshare(store, written(tmp_path, {SHA: record(fileName="new")}))

    assert show_file(store, SHA).ban_set == 0


# --- odd records ------------------------------------------------------------------


def test_keys_that_differ_in_case_are_two_files(store: Store) -> None:
    lower = "728edb156a03dd37e4338759d8ae08070fdcce330441011c590c02f45076e032"
    small = json.loads(SMALL.read_text("utf-8"))

    report = import_pinshare(store, SMALL)

    assert {key for key, note in report.notes if "differs only in case" in note} >= {
        lower,
        lower.upper(),
    }
    for key in (lower, lower.upper()):
        assert show_file(store, key).cid == small[key]["ipfsCID"]
        assert show_file(store, key).moderation_votes == small[key]["moderationVotes"]


def test_odd_ban_codes_are_kept_and_noted(store: Store, tmp_path: Path) -> None:
    report = import_pinshare(store, written(tmp_path, {SHA: record(banSet=7)}))

    assert report.notes == [(SHA, "unknown ban code 7")]
    assert show_file(store, SHA).ban_set == 7


def test_a_record_that_cannot_be_kept_is_refused_and_the_others_go_in(
    store: Store, tmp_path: Path
) -> None:
    odd = {"": record(), "a" * 64: record(tags=[]), SHA: record(), "b" * 64: record(banSet=2**63)}

    report = import_pinshare(store, written(tmp_path, odd))

    assert (report.records, report.imported, head(store)) == (4, 1, 1)
    assert [refusal.key for refusal in report.refused] == ["", "a" * 64, "b" * 64]
    assert all(refusal.reason for refusal in report.refused)


def test_what_the_log_holds_of_a_record_tells_where_it_came_from(
    store: Store, tmp_path: Path
) -> None:
    path = written(tmp_path, {"a" * 64: record(), SHA: record(lastUpdated=LATER)})
    line = 1 + path.read_text().split(f'"{SHA}": {{')[0].count("\n")

    import_pinshare(store, path, source="node-1", actor="ada")

    metadata = json.loads(store.log.page(0, 1, 1)[0].metadata)
    assert metadata["import"].pop("hash")
    assert metadata == {
        "actor": "ada",
        "occurred_at": LATER,
        "import": {"source": "node-1", "line": line},
    }


@pytest.mark.parametrize("kept", [0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused_and_nothing_is_written(
    store: Store, tmp_path: Path, kept: float
) -> None:
    text = SMALL.read_bytes()
    path = tmp_path / "truncated.json"
    path.write_bytes(text[: int(len(text) * kept)])

    with pytest.raises(Truncated, match="is cut off: it ends at line"):
        import_pinshare(store, path)

    assert head(store) == 0


def test_a_truncated_file_leaves_what_was_there(store: Store, tmp_path: Path) -> None:
    import_pinshare(store, SMALL)
    before = exported(store)
    path = tmp_path / "truncated.json"
    path.write_bytes(written(tmp_path, json.loads(before)).read_bytes()[:-1])

    with pytest.raises(BadInput):
        import_pinshare(store, path)

    assert exported(store) == before


# --- totals counted by others -----------------------------------------------------


def test_the_totals_come_out_of_the_query_tables_by_sql(
    filled: tuple[str, Store, Report],
) -> None:
    name, store, _ = filled

    totals = {
        "records": sql(store, "SELECT count(*) FROM files")[0][0],
        "tags": sql(store, "SELECT count(*) FROM file_tags")[0][0],
        "sum_of_tag_votes": sql(store, "SELECT coalesce(sum(tag_count), 0) FROM file_tags")[0][0],
        "sum_of_moderation_votes": sql(store, "SELECT sum(moderation_votes) FROM file_counts")[0][
            0
        ],
        "banned": sql(store, "SELECT count(*) FROM files WHERE ban_set > 0")[0][0],
        "by_ban_code": {
            str(code): files
            for code, files in sql(store, "SELECT ban_set, count(*) FROM files GROUP BY ban_set")
        },
        "tags_negative": sql(store, "SELECT count(*) FROM file_tags WHERE tag_count < 0")[0][0],
        "distinct_keys_ignoring_case": sql(store, "SELECT count(DISTINCT lower(key)) FROM files")[
            0
        ][0],
    }

    assert totals == {total: EXPECTED[name][total] for total in totals}


def test_the_totals_come_out_of_the_exported_file(filled: tuple[str, Store, Report]) -> None:
    name, store, _ = filled

    files = json.loads(exported(store))

    tags = [count for fields in files.values() for count in (fields.get("tags") or {}).values()]
    bans = [fields.get("banSet", 0) for fields in files.values()]
    missing = Counter(name for fields in files.values() for name in NAMES - fields.keys())
    inner = {key: fields.get("fileSHA256", key) for key, fields in files.items()}
    totals = {
        "records": len(files),
        "tags": len(tags),
        "tags_negative": sum(count < 0 for count in tags),
        "tags_zero": tags.count(0),
        "sum_of_tag_votes": sum(tags),
        "sum_of_moderation_votes": sum(each.get("moderationVotes", 0) for each in files.values()),
        "banned": sum(code > 0 for code in bans),
        "by_ban_code": {str(code): n for code, n in Counter(bans).items()},
        "tags_null": sum(each.get("tags", 0) is None for each in files.values()),
        "missing_fields": dict(missing),
        "key_differs_from_inner_sum": sum(key != sha for key, sha in inner.items()),
        "records_with_unknown_keys": sum(bool(each.keys() - NAMES) for each in files.values()),
    }
    assert totals == {total: EXPECTED[name][total] for total in totals}


# --- broken off -------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_an_import_that_was_killed_goes_on_where_it_was(
    engine: str, new_address: Callable[[str], str], tmp_path: Path
) -> None:
    many = 2_000
    path = written(tmp_path, many_records(many))
    url = new_address(engine)
    with open_store(url, create=True) as store, open_store("memory:") as straight:
        process = subprocess.Popen(
            [*REFOLD_IN_SMALL_STEPS, "import", "pinshare", path, "--store", url],
            stdout=subprocess.DEVNULL,
        )
        wait_for(lambda: head(store) > 0)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        there = head(store)
        assert 0 < there < many

        resumed = import_pinshare(store, path)
        import_pinshare(straight, path)

        assert (resumed.unchanged, resumed.imported) == (there, many - there)
        assert contents(store) == contents(straight)
        assert [seal.position for seal in store.log.seals(0)] == [1_000, 2_000]
        assert digests(store) == digests(straight)


def test_two_imports_at_once_import_each_record_once(address: str, store: Store) -> None:
    line_up = Barrier(2, timeout=60)

    def run_one(_: int) -> tuple[int, int, int]:
        with open_store(address) if address != "memory:" else shared(store) as own:
            line_up.wait()
            report = import_pinshare(own, SMALL)
            return report.imported, report.unchanged, report.events

    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(run_one, range(2)))

    records = EXPECTED["metadata.small.json"]["records"]
    assert head(store) == records
    assert sum(imported for imported, _, _ in reports) == records
    assert sum(events for _, _, events in reports) == records
    assert exported(store) == SMALL.read_text("utf-8")


# --- what the tests say things with -----------------------------------------------

NAMES = {
    "fileSHA256",
    "ipfsCID",
    "fileName",
    "fileType",
    "lastUpdated",
    "addedAt",
    "moderationVotes",
    "tags",
    "banSet",
}


def an_address(engine: str, request: pytest.FixtureRequest, folder: Path) -> str:
    match engine:
        case "memory":
            return "memory:"
        case "sqlite":
            return f"sqlite:///{folder}/store.db"
        case _:
            return f"{request.getfixturevalue('database')}?schema=store_{next(NUMBERS)}"


def with_counts(files: Documents) -> Documents:
    for fields in files.values():
        fields["tags"] = fields["tags"] and {tag: 0 for tag, on in fields["tags"].items() if on}
    return files


def record(**fields: object) -> dict[str, Any]:
    return {"ipfsCID": "Qm", "lastUpdated": "2025-08-05T20:44:29Z"} | fields


def changed(fields: dict[str, Any]) -> dict[str, Any]:
    """Another record under the same key: every kind of field differs, and none is missing."""
    return {
        "fileSHA256": "x",
        "ipfsCID": "Qm2",
        "fileName": f"{fields.get('fileName', '')} (2)",
        "fileType": "x",
        "lastUpdated": LATER,
        "addedAt": LATER,
        "moderationVotes": fields.get("moderationVotes", 0) - 7,
        "tags": {**dict.fromkeys(fields.get("tags") or {}, -1), "second": 2}
        if fields.get("banSet") == 0
        else None,
        "banSet": 9 - fields.get("banSet", 0),
        "unknown": {"x": [1.5, None]},
    }


def many_records(number: int) -> Documents:
    samples = list(json.loads(SMALL.read_text("utf-8")).values())
    return {
        f"{n:064x}": samples[n % len(samples)] | {"fileName": f"file {n}"} for n in range(number)
    }


def written(folder: Path, documents: Documents, name: str = "metadata.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(documents, indent=2), "utf-8")
    return path


def exported(store: Store) -> str:
    out = StringIO()
    export_pinshare(store, out)
    return out.getvalue()


def head(store: Store) -> int:
    return store.log.heads()[0].position


def contents(store: Store) -> list[tuple[object, ...]]:
    """Everything in the log but the instants."""
    return [each._replace(recorded_at=0) for each in store.log.page(0, 0, 10_000)]


def digests(store: Store) -> list[object]:
    store.folder.catch_up()
    return [store.folder.digest(each) for each in catalog.ALL]


def run(store: Store, command: str, /, **fields: object) -> None:
    done = commands.run(store, command, fields, command_id=os.urandom(8).hex(), actor="tester")
    assert done.outcome == "appended"


def sql(store: Store, query: str) -> list[tuple[Any, ...]]:
    """Ask the query tables as a person with psql or sqlite3 does."""
    match store.address:
        case Sqlite() as place:
            with sqlite3.connect(place.tables) as connection:
                return connection.execute(query).fetchall()
        case Memory():
            with store.tables.reading() as tables:
                return [tuple(row) for row in tables.exec_driver_sql(query)]
        case place:
            with psycopg.connect(place.url, options=f"-c search_path={place.schema}") as server:
                return server.execute(query.encode()).fetchall()


def wait_for(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextmanager
def shared(store: Store) -> Iterator[Store]:
    """Give the store itself: another one in memory would be empty."""
    yield store
