"""`refold import decentcom` as an operator types it: totals, documents, refusals, no secrets."""

import io
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from refold.tests.infrastructure.faults.processes import Finished
from refold.tests.infrastructure.faults.processes import refold as in_this_process
from refold.tests.infrastructure.legacy.test_decentcom_format import (
    DEVICE_KEYS,
    EXPECTED,
    HELLO,
    IMPORTED,
    MEDIA,
    REAL,
    TIME,
    TOKEN,
    database,
    execute,
)

ROWS = EXPECTED["rows"]
CHAT = {table: n for table, n in ROWS.items() if table not in {*IMPORTED, "_sqlx_migrations"}}
RECORDS, TAKEN = 91, 67
VAULT_KEY = "c0ffee" * 10 + "beef"

Refold = Callable[..., Finished]


@pytest.fixture
def refold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Refold:
    """The command, run in this process, with one store in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFOLD_STORE", f"sqlite:///{tmp_path}/store.db")
    monkeypatch.setenv("REFOLD_VAULT_KEY", VAULT_KEY)
    monkeypatch.delenv("REFOLD_BLOBS", raising=False)
    return in_this_process


def test_a_person_reads_totals_refusals_notes_and_what_is_left_out(refold: Refold) -> None:
    ran = refold("import", "decentcom", REAL, "--media", MEDIA)

    first, *others = ran.stdout.splitlines()
    assert (ran.code, ran.stderr) == (0, "")
    assert first.startswith(
        f"{RECORDS} records: {TAKEN} imported, 0 unchanged, 24 refused; {TAKEN} events in "
    )
    refused = [line for line in others if line.startswith("refused decentcom.db.gz:")]
    left_out = [line for line in others if line.startswith("not yet imported: ")]
    notes = [line for line in others if line.startswith("note on file ")]
    assert (len(refused), len(notes)) == (24, 1)
    assert left_out == [f"not yet imported: {n} rows of {table}" for table, n in CHAT.items()]
    assert len(others) == len(refused) + len(left_out) + len(notes)


def test_a_program_reads_one_document(refold: Refold) -> None:
    ran = refold("import", "decentcom", REAL, "--media", MEDIA, "--json")

    assert (ran.code, ran.stderr) == (0, "")
    document = ran.document
    assert document["left_out"] == CHAT
    assert (document["records"], document["imported"], document["events"]) == (91, 67, 67)
    assert len(document["refused"]) == document["records"] - document["imported"]
    assert {*document["refused"][0]} == {"key", "file", "line", "reason"}
    [note] = document["notes"]
    assert note["note"] == "no row leads to it"


def test_again_it_imports_nothing_and_the_store_proves_itself(
    refold: Refold, tmp_path: Path
) -> None:
    refold("import", "decentcom", REAL, "--media", MEDIA)

    again = refold("import", "decentcom", REAL, "--media", MEDIA, "--json").document

    assert (again["imported"], again["unchanged"], again["events"]) == (0, TAKEN, 0)
    assert refold("verify", f"sqlite:///{tmp_path}/store.db").code == 0
    rebuilt = refold("rebuild", "--json")
    assert rebuilt.code == 0


def test_an_import_into_postgresql_makes_the_same(
    refold: Refold, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refold("import", "decentcom", REAL, "--media", MEDIA)
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))

    ran = refold("import", "decentcom", REAL, "--media", MEDIA, "--store", postgres_url, "--json")

    assert ran.code == 0
    assert (ran.document["imported"], ran.document["left_out"]) == (TAKEN, CHAT)
    kept = {path.name for path in (tmp_path / "blobs").rglob("*") if path.is_file()}
    assert kept == {path.name for path in (tmp_path / "store.db-blobs").rglob("??*/*")}


def test_media_without_a_place_for_them_are_refused_before_a_store_is_made(
    refold: Refold, schema_url: str
) -> None:
    ran = refold("import", "decentcom", REAL, "--media", MEDIA, "--store", schema_url)

    assert ran.code == 1
    assert "no place for large contents is named" in ran.stderr
    assert "there is no store" in refold("status", "--store", schema_url).stderr


def test_without_media_uploads_are_refused_and_the_rest_goes_in(refold: Refold) -> None:
    document = refold("import", "decentcom", REAL, "--json").document

    assert document["imported"] == ROWS["users"] + ROWS["user_devices"]
    reasons = [each["reason"] for each in document["refused"]]
    assert reasons.count("no media folder was given") == ROWS["media"] + ROWS["attachments"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["gone.db"], "gone.db cannot be opened: No such file or directory"),
        (["not.db"], "not.db is no SQLite database"),
        ([REAL, "--media", "gone"], "gone is no folder of media"),
    ],
)
def test_what_cannot_be_read_is_one_sentence_and_nothing_is_written(
    refold: Refold, tmp_path: Path, arguments: list[str], sentence: str
) -> None:
    (tmp_path / "not.db").write_text("not a database " * 100)

    ran = refold("import", "decentcom", *arguments)

    assert (ran.code, ran.stdout) == (1, "")
    assert ran.stderr.startswith("refold: ")
    assert ran.stderr.endswith(f"{sentence}\n")
    assert ran.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["not.db"]


def test_two_servers_are_two_sources(refold: Refold, tmp_path: Path) -> None:
    path = one_of_each(tmp_path)
    refold("import", "decentcom", path, "--media", tmp_path / "media", "--json")
    execute(path, "UPDATE users SET display_name = 'Countess'")

    other = ["import", "decentcom", path, "--media", tmp_path / "media", "--source", "other"]
    imported = [refold(*other, "--json").document["imported"] for _ in range(2)]

    assert imported == [2, 0]  # the user and the session; of the others this one knows no more
    assert refold("import", "decentcom", path, "--json").document["imported"] == 1


def test_no_token_and_no_key_is_in_any_output_or_file(
    refold: Refold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = one_of_each(tmp_path)
    tokens = [TOKEN, "canary-token-expired", "canary-token-odd", "canary-token-live"]
    for token, expires_at in zip(tokens[1:], (TIME, "never", "2990-01-01 00:00:00"), strict=True):
        execute(
            path,
            "INSERT INTO sessions SELECT ?, user_id, created_at, ?, 0 FROM sessions LIMIT 1",
            *(token, expires_at),
        )
    execute(path, "INSERT INTO user_devices SELECT 'device-2', 'nobody', ?, x25519_pubkey,"
            " device_name, issued_at, created_at FROM user_devices", DEVICE_KEYS[1])  # fmt: skip

    ran = [
        refold("import", "decentcom", path, *more)
        for more in ([], ["--json"], ["--media", str(tmp_path / "media")])
    ]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"canary-token-live\n")))
    ran += [refold("show", "session", "-", "--json"), refold("rebuild"), refold("status")]
    path.unlink()

    printed = "".join(each.stdout + each.stderr for each in ran)
    assert '"user": "user-1"' in printed  # the session is shown to who has its token
    assert "user nobody is not known" in printed
    assert "expires_at 'never' is not a time" in printed
    assert [each for each in (*tokens, *DEVICE_KEYS, VAULT_KEY) if each in printed] == []
    files = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert [each for each in (*tokens, VAULT_KEY) if each.encode() in files] == []


def test_a_broken_row_fails_alone_in_a_process_of_its_own(refold: Refold, tmp_path: Path) -> None:
    path = one_of_each(tmp_path)
    execute(path, "UPDATE users SET pubkey = 'l0O'")
    command = [sys.executable, "-c", "from refold.scripts.cli import main; main()", "import"]

    ran = subprocess.run([*command, "decentcom", path, "--json"], capture_output=True, check=True)

    document = json.loads(ran.stdout)
    reasons = {each["key"]: each["reason"] for each in document["refused"]}
    assert ran.stderr == b""
    assert reasons["users user-1"] == "pubkey is not base58"
    assert reasons["user_devices device-1"] == "user user-1 is not known"
    assert document["imported"] == 1  # the session


def one_of_each(folder: Path) -> Path:
    """Make a database with a row in each table, a session that lives, and its media."""
    path, media = database(folder), folder / "media"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE sessions SET expires_at = '2990-01-01T00:00:00Z'")
    media.mkdir()
    (media / HELLO).write_bytes(b"hello")
    return path
