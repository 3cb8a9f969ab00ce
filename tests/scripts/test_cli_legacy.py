"""`refold import git-proxy` and `refold export`: documents, sentences, files and exit codes."""

import csv
import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import pytest

from refold.tests.scripts.conftest import Refold

SMALL: Final = Path(__file__).parents[1] / "data" / "git-proxy" / "small"
NEDB, MONGO = SMALL / "nedb", SMALL / "mongo"
EXPECTED: Final = json.loads((SMALL / "expected.json").read_text("utf-8"))
DOCUMENTS: Final = {name: each["documents"] for name, each in EXPECTED["nedb"].items()}
STORE: Final = "sqlite:///proxy.db"
CANARY: Final = "canary-7f3a"


@pytest.fixture
def filled(refold: Refold) -> str:
    """The address of a store with the small set of NeDB."""
    assert refold("import", "git-proxy", NEDB, "--store", STORE).code == 0
    return STORE


# --- import -----------------------------------------------------------------------


def test_an_import_counts_what_became_of_each_document(refold: Refold) -> None:
    first, again = (
        refold("import", "git-proxy", NEDB, "--store", STORE, "--json").json for _ in range(2)
    )

    records = sum(DOCUMENTS.values())
    assert (first["records"], first["imported"], first["refused"]) == (records, records, [])
    assert (again["records"], again["unchanged"], again["events"]) == (records, records, 0)
    assert first["left_out"] == {}


def test_an_import_prints_refusals_and_notes_for_a_person(refold: Refold) -> None:
    ran = refold("import", "git-proxy", MONGO, "--store", STORE)

    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0].startswith("120 records: 105 imported, 0 unchanged, 15 refused; ")
    assert Counter(line.split()[0] for line in lines[1:]) == {"refused": 15, "note": 5}
    assert any(line.endswith("ghost.pinshare has a role and is no user") for line in lines)
    [repo] = [line for line in lines if "repos.json:" in line]
    assert repo.startswith(f"refused {MONGO / 'repos.json'}:9 repos ")


def test_a_git_proxy_elsewhere_is_asked_nothing_without_verified_tls(
    refold: Refold, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    parts = urlsplit(postgres_url)
    url = f"{postgres_url.replace(str(parts.hostname), 'db.example')}?hostaddr={parts.hostname}"

    refused = refold("import", "git-proxy", url, "--store", STORE)
    monkeypatch.setenv("REFOLD_INSECURE_TLS", "1")
    lifted = refold("import", "git-proxy", url, "--store", STORE)

    assert (refused.code, lifted.code) == (1, 1)
    assert refused.sentence.startswith("PostgreSQL at db.example is not on this machine: set ssl")
    assert lifted.sentence.endswith("holds none of git-proxy's tables")


def test_single_files_may_be_named(refold: Refold) -> None:
    files = [NEDB / "users.db.gz", NEDB / "repos.db.gz"]

    document = refold("import", "git-proxy", *files, "--store", STORE, "--json").json

    assert document["imported"] == DOCUMENTS["users.db"] + DOCUMENTS["repos.db"]


def test_each_source_has_a_last_import_of_its_own(refold: Refold, filled: str) -> None:
    other = ["--source", "other", "--store", filled, "--json"]

    document = refold("import", "git-proxy", NEDB / "repos.db.gz", *other).json

    assert (document["imported"], document["unchanged"]) == (DOCUMENTS["repos.db"], 0)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("nowhere", "nowhere is no name of a file of git-proxy"),
        (".", ". holds no file of git-proxy"),
        ("users.db", "users.db cannot be opened"),
    ],
)
def test_what_is_not_there_is_one_sentence(refold: Refold, path: str, sentence: str) -> None:
    ran = refold("import", "git-proxy", path, "--store", STORE)

    assert ran.code == 1
    assert ran.sentence.startswith(sentence)


NOWHERE, TEXT = Path("nowhere"), Path(__file__)
DECENTCOM: Final = Path(__file__).parents[1] / "data" / "decentcom" / "decentcom.db.gz"


@pytest.mark.parametrize(
    "arguments",
    [
        ("pinshare", "nowhere.json"),
        ("pinshare", TEXT),
        ("git-proxy", NOWHERE),
        ("git-proxy", NOWHERE / "users.db"),
        ("decentcom", NOWHERE),
        ("decentcom", TEXT),
        ("decentcom", DECENTCOM, "--media", NOWHERE),
        ("eventsourcing", "sqlite:///nowhere"),
    ],
    ids=str,
)
def test_what_cannot_be_read_makes_no_store(
    refold: Refold, tmp_path: Path, arguments: tuple[str | Path, ...]
) -> None:
    ran = refold("import", *arguments, "--store", STORE)

    assert ran.code in (1, 4)
    assert ran.sentence
    assert list(tmp_path.iterdir()) == []


# --- the vault's key --------------------------------------------------------------


@pytest.mark.parametrize("source", [("git-proxy", NEDB), ("decentcom", DECENTCOM)], ids=str)
def test_a_key_that_is_none_is_refused_before_a_store_is_made(
    refold: Refold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: tuple[str, Path]
) -> None:
    monkeypatch.setenv("REFOLD_VAULT_KEY", "zz")

    ran = refold("import", *source, "--store", STORE)

    assert ran.code == 1
    assert ran.sentence == "REFOLD_VAULT_KEY is not 32 bytes in hex or base64"
    assert list(tmp_path.iterdir()) == []


def test_no_key_is_refused_before_a_store_is_made_on_postgresql(
    refold: Refold, postgres_url: str
) -> None:
    ran = refold("import", "git-proxy", NEDB, "--store", postgres_url)
    made = refold("status", "--store", postgres_url)
    of_nobody = refold("import", "git-proxy", NEDB / "repos.db.gz", "--store", postgres_url)

    assert ran.code == 1
    assert ran.sentence.startswith("sealed fields need a key: set REFOLD_VAULT_KEY")
    assert made.sentence.startswith("there is no store at")
    assert of_nobody.code == 0


@pytest.mark.parametrize("system", ["git-proxy", "pinshare", "decentcom"])
@pytest.mark.parametrize(
    "address",
    [
        "mongodb://u:SEKRET@h/db",
        "mongodb+srv://u:SEKRET@h/db",
        "PostgreSQL://u:SEKRET@h/db",
        " postgresql://u:SEKRET@h/db",
        "postgresql:/u:SEKRET@h/db",
    ],
)
def test_an_address_that_is_no_file_is_not_repeated(
    refold: Refold, tmp_path: Path, system: str, address: str
) -> None:
    ran = refold("import", system, address, "--store", STORE)

    assert ran.code == 1
    assert ran.sentence.startswith("a file or a folder is wanted here")
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_git_proxys_tables_that_is_odd_is_not_repeated(refold: Refold) -> None:
    ran = refold("import", "git-proxy", "postgresql://u:p@SEKRET@127.0.0.1:1/x", "--store", STORE)

    assert ran.code == 1
    assert ran.sentence.startswith("the PostgreSQL address is not postgresql://USER:PASSWORD@")


def test_git_proxys_tables_are_read_as_securely_as_it_is_said(
    refold: Refold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_SSLMODE", "verify-full")

    ran = refold("import", "git-proxy", "postgresql://u@nosuch.invalid/x", "--store", STORE)

    assert ran.code == 4
    assert ran.sentence.endswith("its host is not known")


def _give_another(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("REFOLD_VAULT_KEY", "77" * 32)
    return "the vault's key does not open what this store has sealed"


def _move_it_away(folder: Path, _: pytest.MonkeyPatch) -> str:
    (folder / "proxy.db-vault-key").rename(folder / "elsewhere")
    return "this store has sealed fields, and neither proxy.db-vault-key nor REFOLD_VAULT_KEY"


@pytest.mark.parametrize("lose", [_give_another, _move_it_away])
def test_an_import_without_the_right_key_changes_nothing(
    refold: Refold,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lose: Callable[[Path, pytest.MonkeyPatch], str],
) -> None:
    refold("import", "git-proxy", NEDB / "users.db.gz", "--store", STORE)
    before = refold("status", "--store", STORE, "--json").json["partitions"]
    sentence = lose(tmp_path, monkeypatch)

    for source in (("git-proxy", NEDB), ("decentcom", DECENTCOM)):
        ran = refold("import", *source, "--store", STORE)

        assert ran.code == 1
        assert ran.sentence.startswith(sentence)
    assert refold("status", "--store", STORE, "--json").json["partitions"] == before


def test_a_git_proxy_database_that_is_down_is_unavailable_and_its_password_not_told(
    refold: Refold,
) -> None:
    address = f"postgresql://proxy:{CANARY}@127.0.0.1:1/proxy?connect_timeout=2"

    ran = refold("import", "git-proxy", address, "--store", STORE)

    assert ran.code == 4
    assert CANARY not in ran.out + ran.err


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_secret_is_printed(refold: Refold, tmp_path: Path, form: list[str]) -> None:
    body = json.dumps({"cookie": {}, "passport": {"user": "ada"}, "csrf": CANARY})
    ids = [f"sid-{CANARY}-{n}" for n in range(4)]
    past, later = {"$date": "2020-01-01T00:00:00Z"}, {"$date": "2999-01-01T00:00:00Z"}
    sessions = [
        {"_id": ids[0], "expires": past, "session": body},
        {"_id": ids[1], "expires": later, "session": body},
        {"_id": ids[1], "expires": later, "session": body},
        {"_id": ids[2], "expires": later, "session": CANARY},
        {"_id": ids[3], "expires": {"$odd": CANARY}, "session": body},
    ]
    users = [
        {"_id": "1", "username": "ada", "password": CANARY},
        {"_id": "2", "username": "ada", "password": CANARY},
        {"_id": "3", "username": "bob", "password": [CANARY]},
    ]
    url = f"https://ada:{CANARY}@x.y/z"
    repos = [{"_id": "1", "name": "z", "url": url}, {"_id": "2", "name": "z", "url": f"{url}.git"}]
    collections: dict[str, list[Any]] = {"user_session": sessions, "users": users, "repos": repos}
    for name, documents in collections.items():
        text = "".join(f"{json.dumps(each)}\n" for each in documents)
        (tmp_path / f"{name}.json").write_text(text)

    ran = refold("import", "git-proxy", tmp_path, "--store", STORE, *form)

    assert ran.code == 0
    assert CANARY not in ran.out + ran.err
    assert f"session {sha256(ids[0].encode()).hexdigest()[:12]}" in ran.out
    assert ran.out.count("refused") >= 1


def test_an_import_into_a_server_that_is_down_makes_no_other_store(
    refold: Refold, tmp_path: Path
) -> None:
    address = "postgresql://nobody@127.0.0.1:1/nowhere?connect_timeout=2"

    ran = refold("import", "git-proxy", NEDB, "--store", address)

    assert ran.code == 4
    assert list(tmp_path.iterdir()) == []


# --- export -----------------------------------------------------------------------


@pytest.mark.parametrize(("format", "ending"), [("nedb", "db"), ("mongoexport", "json")])
def test_an_export_is_imported_again_without_a_change(
    refold: Refold, filled: str, tmp_path: Path, format: str, ending: str
) -> None:
    out = tmp_path / "out"

    ran = refold("export", "git-proxy", out, "--format", format, "--store", filled, "--json")

    assert ran.json["folder"] == str(out)
    counts = {f"{name}.db": count for name, count in ran.json["documents"].items() if count}
    assert counts == DOCUMENTS
    assert all(path.suffix == f".{ending}" for path in out.iterdir())
    again = refold("import", "git-proxy", out, "--store", filled, "--json").json
    assert (again["unchanged"], again["events"]) == (sum(DOCUMENTS.values()), 0)


def test_an_export_prints_the_same_for_a_person(refold: Refold, filled: str) -> None:
    lines = refold("export", "git-proxy", "out", "--store", filled).out.splitlines()

    assert sorted(lines) == sorted(
        f"{count} {name.removesuffix('.db')} in out" for name, count in DOCUMENTS.items()
    )


def test_what_is_exported_is_for_its_owner_alone(refold: Refold, filled: str) -> None:
    refold("export", "git-proxy", "out", "--store", filled)

    assert [path.stat().st_mode & 0o777 for path in Path("out").iterdir()] == [0o600] * 4


def test_an_export_that_nedb_would_not_take_leaves_what_was_there(
    refold: Refold, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "users.db").write_text("as it was")
    refold("import", "git-proxy", MONGO, "--store", STORE)

    ran = refold("export", "git-proxy", out, "--store", STORE)

    assert ran.code == 1
    assert "have the same email" in ran.sentence
    assert [path.name for path in out.iterdir()] == ["users.db"]
    assert (out / "users.db").read_text() == "as it was"


def test_a_folder_that_cannot_be_written_to_is_one_sentence(refold: Refold, filled: str) -> None:
    Path("file").write_text("")

    ran = refold("export", "git-proxy", "file", "--store", filled)

    assert ran.code == 1
    assert ran.sentence.startswith("file cannot be written to")


# --- tables -----------------------------------------------------------------------


def test_a_table_is_written_as_csv_with_a_header(refold: Refold, filled: str) -> None:
    rows = list(
        csv.DictReader(io.StringIO(refold("export", "csv", "users", "--store", filled).out))
    )

    assert len(rows) == DOCUMENTS["users.db"]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert {"username", "email", "admin"} <= rows[0].keys()
    assert "$2b$" not in json.dumps(rows)


def test_a_table_is_written_as_json_lines(refold: Refold, filled: str) -> None:
    rows = lines(refold("export", "jsonl", "pushes", "--store", filled).out)

    assert len(rows) == DOCUMENTS["pushes.db"]
    assert Counter(row["type"] for row in rows) == EXPECTED["nedb"]["pushes.db"]["by_type"]
    statuses = Counter(row["status"] for row in rows if row["type"] == "push")
    assert statuses == EXPECTED["nedb"]["pushes.db"]["push_status"]


def test_both_forms_of_a_table_hold_the_same(refold: Refold, filled: str) -> None:
    for table in ("repos", "repo_permissions", "public_keys", "applied_migrations"):
        of_csv = csv.DictReader(io.StringIO(refold("export", "csv", table, "--store", filled).out))
        of_lines = lines(refold("export", "jsonl", table, "--store", filled).out)

        assert of_lines
        assert [
            {name: "" if value is None else str(value) for name, value in row.items()}
            for row in of_lines
        ] == list(of_csv)


def test_what_a_spreadsheet_would_take_for_a_formula_is_inert(
    refold: Refold, tmp_path: Path
) -> None:
    names = ["=1+1", "+x", "-x", "@x", "plain", 'quo"te,', "two\nlines"]
    text = "".join(
        json.dumps({"_id": str(n), "username": f"u{n}", "displayName": name}) + "\n"
        for n, name in enumerate(names)
    )
    (tmp_path / "users.json").write_text(text)
    refold("import", "git-proxy", tmp_path, "--store", STORE)

    rows = csv.DictReader(io.StringIO(refold("export", "csv", "users", "--store", STORE).out))

    shown = [row["display_name"] for row in rows]
    assert shown == [f"'{name}" if name[0] in "=+-@" else name for name in names]


def test_what_is_sealed_in_sessions_is_in_no_file(refold: Refold, tmp_path: Path) -> None:
    session = {"_id": CANARY, "expires": {"$date": "2999-01-01T00:00:00Z"}, "session": "{}"}
    (tmp_path / "user_session.json").write_text(json.dumps(session) + "\n")
    refold("import", "git-proxy", tmp_path, "--store", STORE)

    for form in ("csv", "jsonl"):
        out = refold("export", form, "sessions", "--store", STORE).out

        assert sha256(CANARY.encode()).hexdigest() in out
        assert CANARY not in out
        assert "sealed" not in out


def test_a_table_that_there_is_not_is_one_sentence_with_those_that_there_are(
    refold: Refold, filled: str
) -> None:
    for form in ("csv", "jsonl"):
        ran = refold("export", form, "nothing", "--store", filled)

        said = " ".join(ran.err.replace("│", " ").split())
        assert (ran.code, ran.out) == (2, "")
        assert "there is no table nothing; there are " in said
        assert "repo_permissions" in said


def test_a_reader_that_has_seen_enough_ends_an_export_without_a_word(
    filled: str, tmp_path: Path
) -> None:
    program = [sys.executable, "-c", "from refold.scripts.cli import main; main()"]
    command = [*program, "export", "jsonl", "pushes"]
    reading, writing = os.pipe()
    os.close(reading)

    with os.fdopen(writing, "wb") as closed:
        ended = subprocess.run(
            [*command, "--store", filled],
            stdout=closed,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            check=False,
            timeout=60,
        )

    assert ended.stderr == b""


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.mark.parametrize("thing", ["user", "push", "repo"])
def test_what_is_shown_as_json_takes_the_option_for_it(
    refold: Refold, filled: str, thing: str
) -> None:
    plain, asked = (
        refold("show", thing, *form, "--store", filled, "--", "nothing")
        for form in ((), ("--json",))
    )

    assert (plain.code, plain.out, plain.err) == (asked.code, asked.out, asked.err)
    assert asked.code < 2
