"""The `refold` command as a person or a program uses it: documents, sentences and exit codes."""

import json
import os
import re
import sqlite3
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from refold.domain.ports import State
from refold.infrastructure.moving.carrying import Carrier
from refold.infrastructure.moving.heads import head
from refold.infrastructure.open import open_store
from refold.projections import catalog
from refold.scripts import cli
from refold.tests.scripts.conftest import Refold

CHECKOUT = Path(__file__).parents[2]
SMALL = CHECKOUT / "scripts" / "demo-data" / "metadata.small.json"
SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
CID = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
TABLES = sorted(projection.NAME for projection in catalog.ALL)


@pytest.fixture
def store(tmp_path: Path, refold: Refold) -> str:
    """The address of a store with the 202 records of the demonstration."""
    address = f"sqlite:///{tmp_path}/store.db"
    assert refold("import", "pinshare", SMALL, "--store", address).code == 0
    return address


# --- help -------------------------------------------------------------------------


def paths(group: Any, *before: str) -> list[tuple[str, ...]]:
    """The names that lead to each command below `group`."""
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        path = (*before, name)
        found += paths(command, *path) if hasattr(command, "commands") else [path]
    return found


COMMANDS = paths(typer.main.get_command(cli.app))


def test_all_tasks_are_there() -> None:
    assert {" ".join(path) for path in COMMANDS} == {
        "init",
        "status",
        "import pinshare",
        "import git-proxy",
        "import decentcom",
        "import eventsourcing",
        "export pinshare",
        "export git-proxy",
        "export csv",
        "export jsonl",
        "command",
        "search",
        "show file",
        "show push",
        "show user",
        "show repo",
        "show session",
        "rebuild",
        "doctor",
        "rehearse",
        "explain",
        "as-of",
        "drift",
        "retry",
        "erase user",
        "run",
        "copy",
        "move",
        "cutover",
        "seal",
        "verify",
        "demo",
        "bench",
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(refold: Refold, path: tuple[str, ...]) -> None:
    shown = refold(*path, "--help")

    assert shown.code == 0
    example = " ".join(shown.out.partition("Example:")[2].split())
    assert f"refold {' '.join(path)}" in example


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_is_named_in_the_readme(path: tuple[str, ...]) -> None:
    assert f"refold {' '.join(path)}" in (CHECKOUT / "README.md").read_text("utf-8")


def test_the_help_says_what_exit_codes_mean(refold: Refold) -> None:
    text = " ".join(refold("--help").out.split())

    assert "0 done, 1 refused or failed, 2 usage, 3 differences found, 4 store unavailable" in text


def test_the_version_is_that_of_the_package(refold: Refold) -> None:
    assert refold("--version").out == f"refold {version('refold')}\n"


def test_every_command_of_a_store_is_named_in_the_help(refold: Refold) -> None:
    text = refold("command", "--help").out

    for name in ("file.register", "file.ban", "tag_vote.cast", "removal_vote.withdraw"):
        assert name in text


# --- documents --------------------------------------------------------------------


def test_init_makes_a_store_once(refold: Refold, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/new.db"

    first, again = (refold("init", "--store", address, "--json") for _ in range(2))

    assert first.json == again.json
    assert first.json.keys() == {"store_id", "log_id", "engine", "address", "partitions"}
    assert first.json["address"] == address


def test_import_prints_what_became_of_each_record(refold: Refold, tmp_path: Path) -> None:
    odd = {"": {}, SHA: {"banSet": 7}, "x": {}}
    path = written(tmp_path, odd)

    document = refold("import", "pinshare", path, "--store", "sqlite:///new.db", "--json").json

    assert document.keys() == {
        "records",
        "imported",
        "unchanged",
        "refused",
        "notes",
        "left_out",
        "events",
        "seconds",
    }
    assert document["records"] == document["imported"] + document["unchanged"] + 1
    assert document["refused"] == [
        {"key": "", "file": "metadata.json", "line": 1, "reason": "the key of the record is empty"}
    ]
    assert {"key": SHA, "note": "unknown ban code 7"} in document["notes"]
    assert all(note.keys() == {"key", "note"} for note in document["notes"])


def test_import_prints_the_same_for_a_person(refold: Refold, tmp_path: Path) -> None:
    path = written(tmp_path, {"": {}, SHA: {"banSet": 7}})

    text = refold("import", "pinshare", path, "--store", "sqlite:///new.db").out

    assert text.startswith("2 records: 1 imported, 0 unchanged, 1 refused; 1 events in ")
    assert "refused metadata.json:1 : the key of the record is empty\n" in text
    assert f"note on {SHA}: unknown ban code 7\n" in text


def test_search_prints_hits_with_their_place_in_the_order(refold: Refold, store: str) -> None:
    first = refold("search", "python3", "--store", store, "--limit", "3", "--json").json
    third = refold(
        "search", "python3", "--store", store, "--limit", "1", "--offset", "2", "--json"
    ).json

    assert first.keys() == {"total", "more", "parked", "hits"}
    assert [hit.keys() for hit in first["hits"]] == [{"sha256", "name", "rank", "parked"}] * 3
    assert [hit["rank"] for hit in first["hits"]] == [1, 2, 3]
    assert third["hits"] == first["hits"][2:]
    assert first["total"] >= 3
    assert first["more"] is False
    assert refold("search", "python3", "--store", store, "--limit", "3").out.endswith(
        f"3 of {first['total']}\n"
    )


@pytest.mark.parametrize(
    "text",
    ["", " ", '"', "-", "*", "or or", "NEAR(", "a:b", "\\", "'; --", "\udfff", "(" * 500, "-- -x"],
)
def test_no_search_is_an_error(refold: Refold, store: str, text: str) -> None:
    ran = refold("search", "--store", store, "--json", "--", text)

    assert ran.code == 0
    assert ran.json.keys() == {"total", "more", "parked", "hits"}


def test_a_search_marks_what_is_parked(refold: Refold, store: str, tmp_path: Path) -> None:
    name = "python3-pbcommand"
    [hit] = refold("search", name, "--store", store, "--json").json["hits"]
    parked = f"('files', 1, '[\"{hit['sha256']}\"]', 3, 'KeyError at files.py:1', 0)"
    other = "('files', 1, '[\"x\"]', 4, 'KeyError at files.py:1', 0)"
    change(tmp_path / "store.db-tables", f"INSERT INTO parked VALUES {parked}, {other}")

    found, others = (refold("search", text, "--store", store) for text in (name, "doc"))
    document = refold("search", name, "--store", store, "--json").json
    one = refold("search", name, "--store", store, "--offset", "1", "--json").json

    said = "parked: 2 rows of files are not up to date; see refold status"
    assert found.out.splitlines()[1].endswith(f"{hit['sha256']}  parked")
    assert found.out.splitlines()[2:] == ["1 of 1", said]
    assert others.out.splitlines()[-1] == said
    assert "  parked" not in others.out
    assert (found.code, others.code) == (0, 0)
    assert (document["parked"], document["hits"]) == (2, [hit | {"parked": True}])
    assert (one["parked"], one["hits"]) == (2, [])


def test_a_search_sees_every_command_before_it(refold: Refold, store: str) -> None:
    register = {"sha256": SHA, "cid": CID, "name": "zyxwvut.pdf"}
    refold("command", "file.register", "--store", store, stdin=json.dumps(register))

    hits = refold("search", "zyxwvut", "--store", store, "--json").json["hits"]

    assert hits == [{"sha256": SHA, "name": "zyxwvut.pdf", "rank": 1, "parked": False}]


def test_show_prints_a_file(refold: Refold, store: str) -> None:
    ask(refold, store, "file.register", sha256=SHA, cid=CID, name="a.pdf", type="pdf", added_at=T)
    ask(refold, store, "tag_vote.cast", sha256=SHA, tag="LENR", voter="ada", stance=1)

    document = refold("show", "file", SHA, "--store", store, "--json").json

    assert re.fullmatch(r"20\d\d-.*Z", document.pop("last_updated"))
    assert document == {
        "sha256": SHA,
        "cid": CID,
        "name": "a.pdf",
        "type": "pdf",
        "ban_set": 0,
        "moderation_votes": 0,
        "tags": {"LENR": 1},
        "added_at": T,
    }
    assert "LENR" in refold("show", "file", SHA, "--store", store).out


def test_status_tells_where_everything_stands(refold: Refold, store: str) -> None:
    document = refold("status", "--store", store, "--json").json

    assert document.keys() >= {
        "store_id",
        "log_id",
        "engine",
        "state",
        "partitions",
        "projections",
    }
    assert (document["engine"], document["state"]) == ("sqlite", "open")
    assert document["partitions"] == [{"partition": 0, "position": 202}]
    assert sorted(document["projections"], key=lambda each: str(each["name"])) == [
        {
            "name": name,
            "generation": 1,
            "position": 202,
            "lag": 0,
            "state": "current",
            "parked": 0,
            "parked_rows": [],
            "why": "",
        }
        for name in TABLES
    ]
    assert "position 202" in refold("status", "--store", store).out


def test_status_tells_what_was_never_folded(refold: Refold, store: str, tmp_path: Path) -> None:
    for path in tmp_path.glob("store.db-tables*"):
        path.unlink()

    projections = refold("status", "--store", store, "--json").json["projections"]

    assert {(each["generation"], each["lag"], each["state"]) for each in projections} == {
        (None, 202, "missing")
    }


def test_rebuild_compares_and_switches(refold: Refold, store: str) -> None:
    document = refold("rebuild", "--store", store, "--json").json
    one = refold("rebuild", "files", "--store", store, "--json").json
    verified = refold("verify", store, "--json").json
    digests = {each["name"]: each["digest"] for each in verified["tables"]}

    assert document.keys() == {"tables", "switched", "pause_seconds", "seconds"}
    assert (one["switched"], one["pause_seconds"] >= 0) == (True, True)
    assert sorted(each["name"] for each in document["tables"]) == TABLES
    assert [(each["name"], each["generation"]) for each in one["tables"]] == [("files", 3)]
    for each in document["tables"] + one["tables"]:
        assert (each["equal_to_previous"], each["why_not_compared"]) == (True, None)
        assert (each["position"], each["parked"]) == (202, 0)
        assert each["digest"] == digests[each["name"]]
        assert not any(each["difference"].values())


def test_a_rebuild_that_finds_other_rows_says_which(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    change(tmp_path / "store.db-tables", "UPDATE files_1 SET ban_set = 9")

    beside = refold("rebuild", "files", "--store", store, "--no-switch", "--samples", "1")
    ran = refold("rebuild", "files", "--store", store, "--json", "--samples", "1")

    lines = beside.out.splitlines()
    assert re.fullmatch("files +2 +202 +DIFFERENT *", lines[1])
    assert lines[2] == "files: 0 added, 0 removed, 201 changed"
    assert lines[3] == "files.ban_set: 201 cells"
    assert re.fullmatch("~ files [0-9a-f]{64}", lines[4])
    assert lines[5] == "  ban_set: 9 -> 0"
    assert lines[6] == "beside the live ones; to put them in place: refold rebuild files"
    assert (beside.code, ran.code, len(lines)) == (3, 3, 7)
    [table] = ran.json["tables"]
    assert (table["equal_to_previous"], table["difference"]["changed"]) == (False, 201)
    assert [sample["after"] for sample in table["difference"]["samples"]] == [{"ban_set": 0}]


OTHER_LOG = "UPDATE checkpoints SET record_hash = x'00' WHERE projection = 'files'"
OTHER_VERSION = "UPDATE projections SET fingerprint = 'x' WHERE name = 'files'"


@pytest.mark.parametrize(
    ("changes", "code"), [([OTHER_LOG], 3), ([OTHER_LOG, OTHER_VERSION], 0)], ids=["log", "version"]
)
def test_a_table_that_should_be_comparable_and_is_not_fails_a_rebuild(
    refold: Refold, store: str, tmp_path: Path, changes: list[str], code: int
) -> None:
    for statement in changes:
        change(tmp_path / "store.db-tables", statement)

    beside = refold("rebuild", "files", "--store", store, "--no-switch")
    switched = refold("rebuild", "files", "--store", store, "--json")
    again = refold("rebuild", "files", "--store", store)

    assert (beside.code, switched.code, again.code) == (code, code, 0)
    lines = beside.out.splitlines()
    assert lines[1].rstrip().endswith("not compared")
    assert lines[2] == "files: not compared: the live table was folded from another log"
    [table] = switched.json["tables"]
    assert (table["equal_to_previous"], switched.json["switched"]) == (None, True)


def test_a_first_build_has_nothing_to_compare_with_and_is_well(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    for path in tmp_path.glob("store.db-tables*"):
        path.unlink()

    ran = refold("rebuild", "files", "file_tags", "--store", store)

    assert ran.code == 0
    assert "files: not compared: there is no live table\n" in ran.out


def test_a_rebuild_is_rolled_back_and_the_old_tables_go(refold: Refold, store: str) -> None:
    refold("rebuild", "files", "file_tags", "--store", store)

    back = refold("rebuild", "--rollback", "--store", store)
    one = refold("rebuild", "files", "--rollback", "--store", store, "--json")
    dry = refold("rebuild", "--drop-old", "--dry-run", "--store", store)
    alone = refold("rebuild", "--dry-run", "--store", store)
    dropped = refold("rebuild", "--drop-old", "--store", store)
    nothing = [refold("rebuild", way, "--store", store) for way in ("--rollback", "--drop-old")]
    refused = refold("rebuild", "files", "--rollback", "--store", store)

    assert back.out == "file_tags is generation 1 again\nfiles is generation 1 again\n"
    assert one.json == {
        "tables": [{"name": "files", "generation": 2, "version": 5, "folds_on": True}]
    }
    assert dry.out == "would drop file_tags_2\nwould drop files_1\n"
    assert alone.code == 2
    assert dropped.out == "dropped file_tags_2\ndropped files_1\n"
    assert [ran.out for ran in nothing] == ["no table has a previous generation\n"] * 2
    assert refused.sentence == "there is no previous generation of table files"
    assert refold("rebuild", "--rollback", "--drop-old", "--store", store).code == 2


def test_a_rehearsal_tells_what_would_change(refold: Refold, store: str, tmp_path: Path) -> None:
    same = refold("rehearse", "--store", store)
    change(tmp_path / "store.db-tables", "DELETE FROM file_tags_1")
    other = refold("rehearse", "--store", store, "--json")
    generations = {
        each["generation"]
        for each in refold("status", "--store", store, "--json").json["projections"]
    }

    assert (same.code, same.out.splitlines()[-1]) == (0, "nothing would change")
    assert (other.code, other.json["changes_nothing"]) == (3, False)
    [changed] = [each for each in other.json["tables"] if not each["equal_to_previous"]]
    assert (changed["name"], changed["difference"]["added"]) == ("file_tags", 423)
    assert (other.json["unreadable"], other.json["unfoldable"]) == ([], [])
    assert generations == {1}


def test_rows_that_are_parked_are_counted_and_retried(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    [(sha256,)] = rows(tmp_path / "store.db-tables", "SELECT sha256 FROM files_1 LIMIT 1")
    change(
        tmp_path / "store.db-tables",
        f"INSERT INTO parked VALUES ('files', 1, '[\"{sha256}\"]', 3, 'KeyError at files.py:1', 0)",
    )

    status = refold("status", "--store", store)
    document = refold("status", "--store", store, "--json").json
    retried = refold("retry", "files", "--store", store, "--json")
    again = refold("retry", "--store", store)

    assert status.code == 1
    assert re.search(r"^files +1 +202 +0 +current, 1 parked$", status.out, re.MULTILINE)
    assert status.out.splitlines()[-3:] == [
        "files: 1 row parked; once mended: refold retry files",
        f"  {sha256}",
        "    at event 3, since 1970-01-01T00:00:00Z: KeyError at files.py:1",
    ]
    [of_files] = [each for each in document["projections"] if each["parked"]]
    assert of_files["parked_rows"] == [
        {
            "key": [sha256],
            "partition": 0,
            "position": 3,
            "error": "KeyError at files.py:1",
            "since": "1970-01-01T00:00:00Z",
        }
    ]
    assert retried.json == {"rows": [{"table": "files", "key": [sha256], "folded": True}]}
    assert (again.code, again.out) == (0, "no row is parked\n")
    assert refold("status", "--store", store).code == 0


def test_a_rebuild_of_no_table_is_a_mistake(refold: Refold, store: str) -> None:
    ran = refold("rebuild", "flies", "--store", store)

    assert ran.code == 2
    assert "there is no table flies" in " ".join(ran.err.replace("│", " ").split())


def test_export_writes_the_file_that_was_imported(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    document = refold("export", "pinshare", "out.json", "--store", store, "--json").json

    assert document == {"records": 202, "file": "out.json"}
    assert (tmp_path / "out.json").read_bytes() == SMALL.read_bytes()
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("folder", [".", "..", "/", "folder"])
def test_an_export_goes_into_no_folder(
    refold: Refold, store: str, tmp_path: Path, folder: str
) -> None:
    (tmp_path / "folder").mkdir()

    ran = refold("export", "pinshare", folder, "--store", store)

    assert (ran.code, ran.sentence) == (1, f"{folder} cannot be written: it is a folder")


@pytest.mark.parametrize("task", ["copy", "move"])
def test_copy_and_move_print_a_certificate(refold: Refold, store: str, task: str) -> None:
    ran = refold(task, store, "sqlite:///copy.db", "--json")

    assert ran.code == 0
    assert_certificate(ran.json)
    both = refold("verify", store, "sqlite:///copy.db", "--json")
    assert both.code == 0
    assert_certificate(both.json)
    assert refold("verify", store, "sqlite:///copy.db").out.endswith("equal\n")


def test_after_a_move_commands_learn_where_the_store_is(refold: Refold, store: str) -> None:
    refold("move", store, "sqlite:///moved.db")
    ban = json.dumps({"sha256": next(iter(json.loads(SMALL.read_bytes()))), "code": 9})

    refused = refold("command", "file.ban", "--store", store, stdin=ban)
    taken = refold("command", "file.ban", "--store", "sqlite:///moved.db", "--json", stdin=ban)

    assert refused.code == 1
    assert refused.sentence == f"this store has moved to sqlite:///{Path.cwd()}/moved.db"
    assert (taken.code, taken.json["position"]) == (0, 203)
    assert refold("status", "--store", store, "--json").json["state"] == "sealed"


def test_verify_prints_what_one_store_says_of_itself(refold: Refold, store: str) -> None:
    document = refold("verify", store, "--json").json

    assert document.keys() >= {"ok", "log_id", "partitions", "types", "tables", "seconds"}
    assert document["ok"] is True
    assert document["bad_block"] is None
    assert refold("verify", store).out.endswith("ok\n")


@pytest.mark.parametrize("task", ["copy", "move", "cutover"])
@pytest.mark.parametrize(
    "path",
    [
        *("nowhere/c.json", ".", "store.db", "store.db-tables", "target.db", "own/../target.db"),
        *("target.db-blobs", "pipe", "k.pem", "target.toml", "link"),
    ],
)
def test_a_certificate_that_cannot_be_kept_is_refused_before_a_target_is_made(
    refold: Refold, store: str, tmp_path: Path, task: str, path: str
) -> None:
    options = plain_files(tmp_path)
    os.mkfifo("pipe")
    Path("link").symlink_to("k.pem")
    Path("own").mkdir()
    before = contents(tmp_path)

    ran = refold(task, store, "sqlite:///target.db", "--certificate", path, *options)

    assert ran.code == 1
    assert ran.sentence.startswith(f"the certificate cannot be kept in {path}: ")
    assert contents(tmp_path) == before


def test_where_a_certificate_is_kept_by_itself_is_looked_at_before(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    place = tmp_path / "target.db-certificate.json"
    place.mkdir()
    before = contents(tmp_path)

    ran = refold("move", store, f"sqlite:///{tmp_path}/target.db")

    assert ran.sentence == f"the certificate cannot be kept in {place}: Is a directory"
    assert contents(tmp_path) == before
    place.rmdir()
    assert refold("move", store, f"sqlite:///{tmp_path}/target.db").code == 0


def test_a_certificate_takes_the_place_of_the_last_one(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    options = plain_files(tmp_path)
    Path("c.json").touch()
    Path("c.json.part").symlink_to("k.pem")
    before = contents(tmp_path).keys()

    for _ in range(2):
        ran = refold("copy", store, "sqlite:///target.db", "--certificate", "c.json", *options)
        assert ran.code == 0, ran.err

    assert json.loads(Path("c.json").read_text())["signature"]
    assert Path("k.pem").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
    assert {each.name for each in contents(tmp_path).keys() - before} <= {
        *("target.db", "target.db-tables", "target.db-wal", "target.db-shm"),
        *("target.db-tables-wal", "target.db-tables-shm"),
    }


def plain_files(folder: Path) -> tuple[str, ...]:
    """Make a key and a configuration file; return the options that name them."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "k.pem").write_bytes(pem)
    (folder / "target.toml").write_text("[storage]\n")
    return "--sign-with", "k.pem", "--target-config", "target.toml"


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {
        path: path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


def test_a_certificate_does_not_take_the_place_of_an_archive(refold: Refold, store: str) -> None:
    ran = refold("copy", store, "archive:a.zst", "--certificate", "a.zst")

    assert ran.sentence.endswith("a.zst: that is a file of the store")
    assert not Path("a.zst").exists()


def assert_certificate(document: dict[str, Any]) -> None:
    assert document.keys() >= {
        "equal",
        "log_id",
        "partitions",
        "types",
        "tables",
        "blobs",
        "seconds",
    }
    assert document["equal"] is True
    [partition] = document["partitions"]
    assert partition.keys() == {"partition", "position", "chain"}
    assert partition["position"] == 202
    assert document["types"] == {"file.imported": 202}
    assert sorted(each["name"] for each in document["tables"]) == TABLES
    for each in document["tables"]:
        assert each.keys() == {"name", "rows", "digest", "version", "compared"}
        assert each["compared"] is True
    names = ("missing", "damaged", "orphaned")
    assert [document["blobs"].pop(name) for name in names] == [[], [], []]
    assert document["blobs"] == {"count": 0, "bytes": 0, "sent": 0}


def test_who_reads_a_store_that_is_being_filled_is_told_so(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    with open_store(store) as opened:
        opened.log.change_state(State.FILLING)

    for ran in (
        refold("search", "python3", "--store", store, "--json"),
        refold("show", "user", "nobody", "--store", store),
    ):
        assert ran.code == 0
        assert ran.err.startswith("not all of it is here yet: this store is being filled by a copy")
    assert refold("doctor", "--store", store).code == 1


# --- commands ---------------------------------------------------------------------


def test_a_command_tells_what_came_of_it(refold: Refold, store: str) -> None:
    register = json.dumps({"sha256": SHA, "cid": CID})

    first = refold("command", "file.register", "--store", store, "--json", stdin=register)
    again = refold("command", "file.register", "--store", store, "--json", stdin=register)

    stream = {"stream": f"file-{SHA}", "version": 1, "position": 203, "partition": 0}
    assert first.json == {"outcome": "appended"} | stream
    assert again.json == {"outcome": "unchanged"} | stream


def test_a_command_id_makes_asking_twice_harmless(refold: Refold, store: str) -> None:
    register = json.dumps({"sha256": SHA, "cid": CID})
    arguments = ("command", "file.register", "--store", store, "--command-id", "id-1", "--json")

    first, again = refold(*arguments, stdin=register), refold(*arguments, stdin=register)

    assert [ran.json["outcome"] for ran in (first, again)] == ["appended", "duplicate"]
    assert first.json["position"] == again.json["position"]


@pytest.mark.parametrize("option", ["--command-id", "--actor"])
@pytest.mark.parametrize(
    "text", ["", "x" * 257, "a\nb", "\udcff"], ids=["empty", "long", "control", "half"]
)
def test_an_id_or_actor_that_is_none_is_refused(
    refold: Refold, store: str, option: str, text: str
) -> None:
    register = json.dumps({"sha256": SHA, "cid": CID})

    ran = refold("command", "file.register", "--store", store, option, text, stdin=register)

    assert ran.code == 1
    assert ran.sentence.startswith(option.removeprefix("--").replace("-", " "))
    assert position(refold, store) == 202


@pytest.mark.parametrize("name", ["command_id", "actor"])
def test_an_id_or_actor_of_a_line_that_is_none_is_refused(
    refold: Refold, store: str, name: str
) -> None:
    line = {"name": "file.register", "data": {"sha256": SHA, "cid": CID}, name: ""}

    ran = refold("command", "--lines", "--store", store, stdin=json.dumps(line))

    answer = json.loads(ran.out)
    assert (answer["outcome"], answer["error"]) == ("refused", "IllFormedText")
    assert answer["message"].startswith(name.replace("_", " "))
    assert position(refold, store) == 202


@pytest.mark.parametrize("option", ["--command-id", "--expected"])
def test_what_is_of_one_command_is_not_for_lines(refold: Refold, store: str, option: str) -> None:
    ran = refold("command", "--lines", option, "1", "--store", store)

    assert ran.code == 2
    assert f"{option} is for one command" in " ".join(ran.err.replace("│", " ").split())


@pytest.mark.parametrize("expected", ["0", "7"])
def test_a_stale_expectation_is_refused(refold: Refold, store: str, expected: str) -> None:
    ask(refold, store, "file.register", sha256=SHA, cid=CID)
    ban = json.dumps({"sha256": SHA, "code": 9})

    ran = refold("command", "file.ban", "--store", store, "--expected", expected, stdin=ban)

    assert ran.code == 1
    assert ran.sentence == f"file-{SHA} is at version 1, not {expected}"


def test_a_command_leaves_the_tables_folded(refold: Refold, store: str, tmp_path: Path) -> None:
    ask(refold, store, "file.register", sha256=SHA, cid=CID, name="now.pdf")

    with sqlite3.connect(tmp_path / "store.db-tables") as tables:
        found = tables.execute("SELECT name FROM files WHERE sha256 = ?", [SHA]).fetchall()

    assert found == [("now.pdf",)]


def test_lines_are_answered_one_by_one(refold: Refold, store: str) -> None:
    ban = {"name": "file.ban", "data": {"sha256": SHA, "code": 9}}
    lines = [
        {"name": "file.register", "data": {"sha256": SHA, "cid": CID}, "command_id": "one"},
        {"name": "file.register", "data": {"sha256": SHA, "cid": CID}, "command_id": "one"},
        {"name": "file.ban", "data": {"sha256": SHA, "code": 4}},
        {"name": "file.eat"},
        "not an object",
        ban | {"expected": 7},
        ban | {"expected": 1, "actor": "bo"},
        ban,
        {"name": "file.ban", "data": [1]},
        {"name": "file.ban", "data": {"sha256": SHA, "code": 3}, "expected": "1"},
        {"name": ["file.ban"], "data": {"sha256": SHA, "code": 3}},
        ban | {"expectd": 1},
    ]
    stdin = "\n".join(["{", "", *map(json.dumps, lines)])

    ran = refold("command", "--lines", "--store", store, stdin=stdin)

    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0
    assert [answer["outcome"] for answer in answers] == [
        "refused",
        "appended",
        "duplicate",
        "refused",
        "refused",
        "refused",
        "conflict",
        "appended",
        "unchanged",
        "refused",
        "refused",
        "refused",
        "refused",
    ]
    assert answers[1] == {
        "command_id": "one",
        "outcome": "appended",
        "stream": f"file-{SHA}",
        "version": 1,
        "position": 203,
        "partition": 0,
    }
    assert answers[10]["message"] == "line 12: expected: Input should be a valid integer"
    assert answers[3]["error"] == "UnknownBanCode"
    assert answers[3]["message"] == "ban code 4 is not one of 0, 3, 6, 9"
    assert refold("show", "file", SHA, "--store", store, "--json").json["ban_set"] == 9


def test_odd_texts_come_through_lines_as_they_are(refold: Refold, store: str) -> None:
    line = json.dumps({"name": "file.ban", "command_id": "\ud800", "data": {}})

    ran = refold("command", "--lines", "--store", store, stdin=line)

    [answer] = ran.out.splitlines()
    assert json.loads(answer)["outcome"] == "refused"


@pytest.mark.parametrize("arguments", [(), ("file.ban", "--lines")])
def test_a_command_is_named_or_comes_in_lines(
    refold: Refold, store: str, arguments: tuple[str, ...]
) -> None:
    assert refold("command", *arguments, "--store", store).code == 2


# --- refusals ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "stdin", "sentence"),
    [
        ("file.ban", "", "stdin is not JSON: "),
        ("file.ban", "[]", "stdin is not a JSON object"),
        ("file.ban", "[" * 100_000, "stdin is not JSON: "),
        ("file.ban", b"\xff", "stdin is not JSON: "),
        ("file.eat", "{}", "there is no command 'file.eat'; there are file.register, "),
        ("file.ban", "{}", "file.ban: sha256: Field required"),
        ("file.ban", '{"sha256": "ABC", "code": 9}', "'ABC' is not a SHA-256 of 64 lower-case hex"),
        ("file.ban", f'{{"sha256": "{SHA}", "code": 4}}', f"no file {SHA} is known"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_in_one_sentence(
    refold: Refold, store: str, name: str, stdin: str, sentence: str
) -> None:
    ran = refold("command", name, "--store", store, stdin=stdin)

    assert ran.code == 1
    assert ran.sentence.startswith(sentence)


def test_an_unknown_ban_code_is_refused(refold: Refold, store: str) -> None:
    ask(refold, store, "file.register", sha256=SHA, cid=CID)

    ran = refold("command", "file.ban", "--store", store, stdin=f'{{"sha256":"{SHA}","code":4}}')

    assert (ran.code, ran.sentence) == (1, "ban code 4 is not one of 0, 3, 6, 9")


@pytest.mark.parametrize("sha256", [SHA, "ABC", "", "a/b%"])
def test_a_file_that_nobody_knows_is_not_shown(refold: Refold, store: str, sha256: str) -> None:
    ran = refold("show", "file", "--store", store, "--", sha256)

    assert (ran.code, ran.sentence) == (1, f"no file {sha256} is known")


def test_a_truncated_file_is_refused_and_makes_nothing(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    path = tmp_path / "cut.json"
    path.write_bytes(SMALL.read_bytes()[:50_000])

    ran = refold("import", "pinshare", path, "--store", store)

    assert ran.code == 1
    assert re.match(rf"{path} is cut off: it ends at line \d+, character \d+", ran.sentence)
    assert position(refold, store) == 202


def test_a_file_that_is_not_there_is_refused(refold: Refold, store: str) -> None:
    ran = refold("import", "pinshare", "nowhere.json", "--store", store)

    assert (ran.code, ran.sentence) == (
        1,
        "nowhere.json cannot be opened: No such file or directory",
    )


def test_a_store_of_a_newer_refold_is_refused(refold: Refold, store: str, tmp_path: Path) -> None:
    change(tmp_path / "store.db", "UPDATE alembic_version SET version_num = '9999'")

    for task in (("status",), ("init",), ("import", "pinshare", str(SMALL)), ("search", "x")):
        ran = refold(*task, "--store", store)

        assert ran.code == 1
        assert ran.sentence.startswith("the store has schema 9999, this version of refold knows")


def test_a_target_that_holds_other_events_is_refused(refold: Refold, store: str) -> None:
    refold("import", "pinshare", SMALL, "--store", "sqlite:///foreign.db")

    for task in ("copy", "move"):
        ran = refold(task, store, "sqlite:///foreign.db")

        assert ran.code == 1
        assert "foreign.db holds 202 events of another history" in ran.sentence
    assert position(refold, "sqlite:///foreign.db") == 202
    assert refold("status", "--store", store, "--json").json["state"] == "open"


@pytest.mark.parametrize(
    ("file", "damage", "difference"),
    [
        (
            "copy.db",
            "UPDATE events SET data = CAST(data || ' ' AS BLOB) WHERE position = 7",
            "position 7",
        ),
        (
            "copy.db-tables",
            "UPDATE file_counts_1 SET moderation_votes = 77 WHERE sha256 LIKE '0%'",
            "table file_counts differs",
        ),
    ],
)
def test_a_copy_that_differs_is_found(
    refold: Refold, store: str, tmp_path: Path, file: str, damage: str, difference: str
) -> None:
    refold("copy", store, "sqlite:///copy.db")
    change(tmp_path / file, damage)

    for task in ("copy", "verify"):
        ran = refold(task, store, "sqlite:///copy.db", "--json")

        assert ran.code == 3
        assert ran.json["equal"] is False
        assert ran.json["differences"]
    assert difference in str(refold("copy", store, "sqlite:///copy.db", "--json").json)
    assert refold("verify", store, "sqlite:///copy.db").out.endswith("NOT EQUAL\n")


# --- which store ------------------------------------------------------------------


def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    refold: Refold, tmp_path: Path
) -> None:
    address = "postgresql://ada:open%20sesame@127.0.0.1:1/files?schema=mine"

    for task in (("status",), ("init",), ("import", "pinshare", str(SMALL)), ("search", "x")):
        ran = refold(*task, "--store", address)

        assert ran.code == 4
        assert "127.0.0.1:1/files" in ran.sentence
        assert "sesame" not in ran.err
    assert list(tmp_path.iterdir()) == []  # no other store was made instead


def test_a_store_that_is_not_there_is_not_made_by_asking(refold: Refold, tmp_path: Path) -> None:
    for task in (("status",), ("search", "x"), ("show", "file", SHA), ("rebuild",)):
        ran = refold(*task, "--store", "sqlite:///none.db")

        assert ran.code == 4
        assert ran.sentence.startswith("there is no store at sqlite:///")
        assert ran.sentence.endswith("none.db; create it with refold init")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_left_alone(refold: Refold, tmp_path: Path) -> None:
    path = tmp_path / "text.db"
    path.write_bytes(b"not a database, " * 100)

    ran = refold("status", "--store", f"sqlite:///{path}")

    assert ran.code == 4
    assert "text.db cannot be used" in ran.sentence
    assert path.read_bytes() == b"not a database, " * 100


@pytest.mark.parametrize("address", ["files.db", "sqlite://", "mysql://x/y", "", "postgresql:x"])
def test_an_address_of_no_kind_is_refused(refold: Refold, address: str) -> None:
    ran = refold("status", "--store", address)

    assert ran.code in (1, 2)
    assert ran.sentence


def test_a_store_has_to_be_named(refold: Refold) -> None:
    ran = refold("status")

    assert ran.code == 2
    assert ran.sentence == (
        "no store is named: give --store, --config or REFOLD_STORE, or a refold.toml"
    )


def test_the_nearer_place_names_the_store(
    refold: Refold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def engine_file(*options: str) -> str:
        address: str = refold("init", "--json", *options).json["address"]
        return address.rpartition("/")[2]

    toml(tmp_path / "refold.toml", database_path="toml.db")
    toml(tmp_path / "other.toml", database_path="config.db")

    assert engine_file() == "toml.db"
    monkeypatch.setenv("REFOLD_STORE", "sqlite:///environment.db")
    assert engine_file() == "environment.db"
    assert engine_file("--config", "other.toml") == "config.db"
    assert engine_file("--config", "other.toml", "--store", "sqlite:///option.db") == "option.db"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[storage]\nbackend = 'sqlite'\ndatabase_paht = 'x'", "unknown key storage.database_paht"),
        ("[storge]\nbackend = 'sqlite'", "unknown key storge"),
        ("[storage]\nbackend = 'mysql'", "storage.backend: Input should be"),
        ("[storage]\nbackend = 'sqlite'", "needs database_path"),
        ("[storage]\nbackend = 'postgres'\npassword = 'sesame'", "needs database_url or database"),
        ("[storage]\nbackend = 'postgres'\nport = 'sesame'", "storage.port: Input should be"),
        ("password = 'sesame", "cannot be read as TOML"),
        ("[storage]\nhost = 'db'", "storage.backend: Field required"),
        ("", "no store is named"),
    ],
)
def test_a_mistake_in_the_configuration_is_named(
    refold: Refold, tmp_path: Path, text: str, sentence: str
) -> None:
    (tmp_path / "refold.toml").write_text(text)

    ran = refold("status")

    assert ran.code in (1, 2)
    assert sentence in ran.sentence
    assert "sesame" not in ran.err


def test_the_example_configuration_is_read(refold: Refold, tmp_path: Path) -> None:
    (tmp_path / "refold.toml").write_bytes((CHECKOUT / "refold.example.toml").read_bytes())

    assert refold("init", "--json").json["engine"] == "sqlite"


def test_a_configuration_names_a_postgresql_store_by_its_parts(
    refold: Refold, tmp_path: Path, postgres_url: str
) -> None:
    found = re.fullmatch(r"postgresql://(\w+):([^@]+)@([\d.]+):(\d+)/(\w+)", postgres_url)
    assert found
    user, password, host, port, database = found.groups()
    toml(
        tmp_path / "refold.toml",
        backend="postgres",
        user=user,
        password=password,
        host=host,
        port=int(port),
        database=database,
        schema="files",
    )

    ran = refold("init", "--json")

    assert ran.json["address"] == f"postgresql://{user}@{host}:{port}/{database}?schema=files"
    assert password not in ran.out + ran.err


# --- the whole story --------------------------------------------------------------


def test_the_demonstration_asks_no_server_elsewhere_without_verified_tls(
    refold: Refold, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    parts = urlsplit(postgres_url)
    url = f"{postgres_url.replace(str(parts.hostname), 'db.example')}?hostaddr={parts.hostname}"
    monkeypatch.setenv("REFOLD_DEMO_POSTGRES", url)

    ran = refold("demo")

    assert ran.code == 1
    assert "PostgreSQL at db.example is not on this machine" in ran.err


def test_the_demonstration_shows_the_main_job(
    refold: Refold, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    monkeypatch.setenv("REFOLD_DEMO_POSTGRES", postgres_url)

    ran = refold("demo")

    assert ran.code == 0
    assert "202 records, 202 events" in ran.out
    assert "the same file again: 202 unchanged, 0 events" in ran.out
    assert "duplicate at position" in ran.out
    assert "\nequal\n" in ran.out
    assert "a command there: this store has moved to postgresql://" in ran.out
    assert "DIFFERENT" not in ran.out
    assert "NOT EQUAL" not in ran.out


# --- what the tests say things with -----------------------------------------------

T = "2025-08-05T20:44:29.123456789Z"


def ask(refold: Refold, store: str, name: str, /, **fields: object) -> None:
    ran = refold("command", name, "--store", store, "--json", stdin=json.dumps(fields))
    assert ran.json["outcome"] == "appended"


def position(refold: Refold, store: str) -> int:
    document = refold("status", "--store", store, "--json").json
    return int(document["partitions"][0]["position"])


def written(folder: Path, documents: dict[str, Any]) -> Path:
    path = folder / "metadata.json"
    path.write_text(json.dumps(documents))
    return path


def toml(path: Path, **values: object) -> None:
    values = {"backend": "sqlite"} | values
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    path.write_text("\n".join(["[storage]", *lines]))


def begin_move(store: str, target: str) -> None:
    """Do what a move that follows does first."""
    with open_store(store) as there, open_store(target, create=True) as here:
        Carrier(there, here).close(head(here))


def test_a_cutover_is_called_off_or_ends_a_move(refold: Refold, store: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    refused = refold("cutover", store, target, "--abort")
    begin_move(store, target)

    done = refold("cutover", store, target, "--certificate", "c.json", "--json")
    checked = refold("verify", target, "--certificate", "c.json", "--json")
    again = refold("move", store, target, "--follow", "--json")
    taken = refold("cutover", store, target, "--abort")
    unsigned = refold("move", store, target, "--sign-with", "none.pem")

    assert "there is no store at" in refused.sentence
    assert (done.json["equal"], done.json["pause_seconds"] >= 0) == (True, True)
    assert checked.json == {"equal": True, "differences": []}
    assert again.json == {"position": 202, "cut_over": True}
    assert "has taken over: move it back instead" in taken.sentence
    assert "none.pem holds no Ed25519 private key" in unsigned.sentence


def test_a_cutover_that_nobody_began_is_refused(refold: Refold, store: str, tmp_path: Path) -> None:
    target = f"sqlite:///{tmp_path}/target.db"

    missing = refold("cutover", store, target)
    assert not (tmp_path / "target.db").exists()
    refold("init", "--store", target)
    empty = refold("cutover", store, target)

    for refused in missing, empty:
        assert refused.code == 1
        assert refused.sentence.startswith(f"no move from {store} to {target} was begun")
    assert refold("status", "--store", store).out.splitlines()[1].endswith(": open")


@pytest.mark.parametrize("numbered_anew", [(), ("--partitions", "2")])
def test_a_target_is_lost_only_if_it_is_not_there(
    refold: Refold, store: str, tmp_path: Path, numbered_anew: tuple[str, ...]
) -> None:
    target = f"sqlite:///{tmp_path}/target.db"
    lost = ("cutover", store, target, "--abort", "--target-is-lost")
    assert refold("move", store, target, *numbered_anew).code == 0
    (tmp_path / "target.db-tables").write_bytes(bytes(5_000))  # which are no reason to give it up

    elsewhere = refold("cutover", store, "sqlite:///lost.db", "--abort", "--target-is-lost")
    alone = refold("cutover", store, target, "--target-is-lost")
    there, told = refold(*lost), refold(*lost, "--dry-run")
    still = refold("status", "--store", store)
    (tmp_path / "target.db").unlink()
    dry = refold(*lost, "--dry-run")
    reopened = refold(*lost, "--json")

    assert "is not sealed for a move to sqlite:///" in elsewhere.sentence
    assert (alone.code, "--target-is-lost is for --abort" in alone.err) == (2, True)
    for refused in there, told:
        assert refused.code == 1
        assert "is there, at position " in refused.sentence
        assert refused.sentence.endswith("and takes commands: move it back instead")
    assert still.out.splitlines()[1].endswith(": sealed")
    assert (dry.code, f"what only {target} had is given up" in dry.out) == (0, True)
    assert reopened.json == {"aborted": True}


def test_a_target_that_refuses_a_password_is_not_lost(
    refold: Refold, store: str, postgres_url: str
) -> None:
    parts = urlsplit(postgres_url)
    wrong = parts._replace(netloc=f"{parts.username}:wrong@{parts.hostname}:{parts.port}").geturl()
    assert refold("move", store, postgres_url).code == 0

    refused = refold("cutover", store, wrong, "--abort", "--target-is-lost")
    still = refold("status", "--store", store)

    assert (refused.code, refused.sentence.endswith("authentication failed")) == (4, True)
    assert still.out.splitlines()[1].endswith(": sealed")


def test_a_move_is_known_again_where_the_settings_say_how_to_reach_its_target(
    refold: Refold, store: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = urlsplit(postgres_url)
    for name in "host", "port", "user", "password":
        given = getattr(parts, {"host": "hostname", "user": "username"}.get(name, name))
        monkeypatch.setenv(f"REFOLD_{name.upper()}", str(given))
    target = f"postgresql://{parts.path}"
    assert refold("move", store, target).code == 0

    again = refold("move", store, target)
    back = refold("cutover", store, target, "--abort", "--target-is-lost")

    assert again.code == 0
    assert "is there, at position " in back.sentence


def test_a_copy_that_is_refused_makes_no_store(
    refold: Refold, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = json.dumps({"id": "u", "profile": {"username": "bo", "email": "bo@example.org"}})
    refold("command", "user.register", "--store", store, stdin=user)
    refold("copy", store, "archive:without.zst")
    from_archive = refold("copy", "archive:without.zst", "sqlite:///new.db")
    (tmp_path / "store.db-vault-key").rename(tmp_path / "elsewhere")
    without_key = [refold(task, store, "sqlite:///new.db") for task in ("copy", "move")]
    (tmp_path / "elsewhere").rename(tmp_path / "store.db-vault-key")
    refold("move", store, f"sqlite:///{tmp_path}/target.db")
    moved = refold("move", store, "sqlite:///new.db")

    for refused in from_archive, *without_key, moved:
        assert refused.code == 1
    assert "not their keys" in from_archive.sentence
    assert not list(tmp_path.glob("new.db*"))


def rows(path: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(path)
    found = connection.execute(query).fetchall()
    connection.close()
    return found


def change(path: Path, statement: str) -> None:
    """Change a store behind its back."""
    connection = sqlite3.connect(path)
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in triggers.fetchall():
        connection.execute(f'DROP TRIGGER "{name}"')
    assert connection.execute(statement).rowcount > 0
    connection.commit()
    connection.close()
