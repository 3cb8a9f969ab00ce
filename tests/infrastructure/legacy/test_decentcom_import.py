"""decentcom's data through an import: every row accounted for, every text and byte as it was."""

import gzip
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from refold.domain.errors import NoPlaceForBlobs
from refold.infrastructure.commands import run
from refold.infrastructure.legacy.decentcom.importing import import_decentcom
from refold.infrastructure.legacy.importing import Refusal, Report
from refold.infrastructure.legacy.large_object import Truncated
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.infrastructure.systems.decentcom import (
    Attachment,
    AttachmentStore,
    DeviceKey,
    DeviceKeyStore,
    MediaStore,
    SessionStore,
    User,
    UserStore,
)
from refold.tests.infrastructure.legacy.test_decentcom_format import (
    DEVICE_KEYS,
    EXPECTED,
    HELLO,
    IMPORTED,
    MEDIA,
    PUBKEY,
    REAL,
    TIME,
    TOKEN,
    database,
    execute,
    sum_of,
)
from refold.tests.infrastructure.systems.test_decentcom import rows

LATER = "2990-01-01T00:00:00.123456789+00:00"
REFOLD_IN_SMALL_STEPS = [
    sys.executable,
    "-c",
    (
        "from refold.infrastructure.legacy import importing; importing.BATCH = 1;"
        "from refold.scripts.cli import main; main()"
    ),
]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What a store on PostgreSQL needs beside its database."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/store.db"


# --- the real set ---------------------------------------------------------------------


def test_the_totals_are_those_that_were_counted(store: Store, tmp_path: Path) -> None:
    report = import_decentcom(store, REAL, MEDIA)

    users = UserStore(store).list()
    devices = [device for user in users for device in DeviceKeyStore(store).list(user.id)]
    media, attachments = rows(store, "media"), rows(store, "attachments")
    lost = [row["id"] for row in original(tmp_path, "attachments") if not has_file(row)]
    figures = EXPECTED["users"]
    assert len(users) == figures["total"]
    assert sum(user.is_bot for user in users) == figures["bots"]
    assert sum(user.display_name is None for user in users) == figures["without_display_name"]
    assert (
        sum(user.pubkey.startswith("1") for user in users)
        == figures["pubkeys_with_leading_zero_bytes"]
    )
    assert sum_of([each.id for each in users]) == EXPECTED["primary_key_sha256"]["users"]
    assert sum_of([each.id for each in devices]) == EXPECTED["primary_key_sha256"]["user_devices"]
    assert len(media) == EXPECTED["media"]["rows_fully_sound"]
    assert len(lost) == 3
    assert len(attachments) == EXPECTED["attachments"]["total"] - len(lost)
    assert rows(store, "sessions") == []
    all_rows = sum(EXPECTED["rows"][table] for table in IMPORTED)
    refused = len(lost) + EXPECTED["media"]["rows_without_file"] + EXPECTED["sessions"]["total"]
    assert (report.records, len(report.refused)) == (all_rows, refused)
    assert report.imported == report.events == all_rows - refused
    assert report.unchanged == 0


def test_the_bytes_of_all_uploads_are_kept_once(store: Store) -> None:
    report = import_decentcom(store, REAL, MEDIA)

    sizes = {blob.sha256: blob.size for blob in store.blobs.list()}
    figures = EXPECTED["media"]
    assert sum(sizes.values()) == figures["bytes_of_distinct_sound_files_with_row"]
    for hash, size in sizes.items():
        data = b"".join(store.blobs.get(hash))
        assert (sha256(data).hexdigest(), len(data)) == (hash, size)
    for id, hash, *_ in rows(store, "media"):
        assert MediaStore(store).get(id) == (MEDIA / hash).read_bytes()
    [(stray, note)] = report.notes
    assert stray.removeprefix("file ") in {file.name for file in MEDIA.iterdir()} - sizes.keys()
    assert note == "no row leads to it"


def test_rows_of_the_chat_are_counted_and_left_out(memory: Store) -> None:
    report = import_decentcom(memory, REAL, MEDIA)

    chat = {
        table: count
        for table, count in EXPECTED["rows"].items()
        if table not in IMPORTED | {"_sqlx_migrations"}
    }
    assert report.left_out == chat
    assert report.left_out["messages"] == 500


def test_every_field_comes_back_as_its_row_has_it(store: Store, tmp_path: Path) -> None:
    import_decentcom(store, REAL, MEDIA)

    users = UserStore(store)
    stored: list[dict[str, Any]] = [
        row | {"is_bot": bool(row["is_bot"])} for row in original(tmp_path, "users")
    ]
    expected = [User(**row) for row in stored]
    assert sorted(users.list(), key=str) == sorted(expected, key=str)
    assert [users.get_by_pubkey(user.pubkey) for user in expected] == expected
    for row in original(tmp_path, "user_devices"):
        assert DeviceKey(**row) in DeviceKeyStore(store).list(row["user_id"])
    for row in original(tmp_path, "attachments"):
        kept = has_file(row) and row["deleted_at"] is None
        shown = AttachmentStore(store).get(row["id"])
        assert shown == (Attachment(**row) if kept else None)
        listed = AttachmentStore(store).list_by_message(row["message_id"] or "none")
        assert (shown in listed) == (kept and row["message_id"] is not None)
    fields = ("id", "content_hash", "size_bytes", "mime_type", "uploader_id", "created_at")
    assert [(row[0], row[1], *row[4:]) for row in rows(store, "media")] == [
        tuple(row[name] for name in fields)
        for row in sorted(original(tmp_path, "media"), key=lambda row: str(row["id"]))
        if has_file(row)
    ]


def test_sessions_that_live_work_on_and_expired_ones_are_not_taken(
    store: Store, tmp_path: Path
) -> None:
    path = with_later_sessions(tmp_path)
    report = import_decentcom(store, path, MEDIA)

    sessions, live = SessionStore(store), []
    for row in original(tmp_path, "sessions", path):
        found = sessions.get(row["token"])
        if row["expires_at"].startswith("2990"):
            assert found is not None
            assert (found.user_id, found.created_at) == (row["user_id"], row["created_at"])
            assert found.expires_at == row["expires_at"]
            assert found.is_read_only == bool(row["is_read_only"])
            live.append(row["token"])
        else:
            assert found is None
    figures = EXPECTED["sessions"]
    assert sum_of(live) == figures["live_tokens_sha256"]
    assert len(rows(store, "sessions")) == figures["live"]
    reasons = [each.reason for each in report.refused if each.key.startswith("sessions ")]
    assert len(reasons) == figures["expired"]
    assert all(reason.startswith("the session has expired: 2026-04-1") for reason in reasons)
    assert sessions.delete_expired() == 0
    sessions.delete(live[0])
    assert import_decentcom(store, path, MEDIA).events == 0
    assert sessions.get(live[0]) is None


@pytest.mark.parametrize("later_sessions", [False, True])
def test_a_second_import_changes_nothing(
    store: Store, tmp_path: Path, later_sessions: bool
) -> None:
    path = with_later_sessions(tmp_path) if later_sessions else REAL
    first = import_decentcom(store, path, MEDIA)
    head, before = store.log.heads()[0].position, totals(store)

    second = import_decentcom(store, path, MEDIA)

    assert (second.imported, second.events) == (0, 0)
    assert (second.unchanged, second.refused) == (first.imported, first.refused)
    assert second.left_out == first.left_out
    assert store.log.heads()[0].position == head
    assert totals(store) == before


def test_an_import_that_is_killed_again_and_again_goes_on_where_it_was(
    url: str, store: Store, tmp_path: Path
) -> None:
    path = with_later_sessions(tmp_path)
    with open_store("memory:") as straight:
        wanted = import_decentcom(straight, path, MEDIA)
        expected = totals(straight)
    reached = 0
    for goal in (1, 15, 35):
        importing = ["import", "decentcom", path, "--media", MEDIA, "--store", url]
        with subprocess.Popen(
            [*REFOLD_IN_SMALL_STEPS, *map(str, importing)], stdout=subprocess.DEVNULL
        ) as process:
            wait_for(store, max(goal, reached + 1))
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
        assert reached < store.log.heads()[0].position < wanted.events
        reached = store.log.heads()[0].position

    resumed = import_decentcom(store, path, MEDIA)

    assert (resumed.unchanged, resumed.imported) == (reached, wanted.events - reached)
    assert store.log.heads()[0].position == wanted.events
    assert totals(store) == expected
    assert import_decentcom(store, path, MEDIA).events == 0


# --- uploads --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda file: file.unlink(), f"the media folder has no file {HELLO}"),
        (
            lambda file: file.write_bytes(b"hellO"),
            f"the bytes of file {HELLO} have the hash {sha256(b'hellO').hexdigest()}",
        ),
        (
            lambda file: file.write_bytes(b""),
            f"the bytes of file {HELLO} have the hash {sha256().hexdigest()}",
        ),
    ],
    ids=["missing", "other bytes", "empty"],
)
def test_uploads_without_their_bytes_are_refused_and_named(
    store: Store, tmp_path: Path, damage: Any, reason: str
) -> None:
    folder = media_folder(tmp_path)
    damage(folder / HELLO)

    report = import_decentcom(store, database(tmp_path), folder)

    assert refused(report, "media ", "attachments ") == [
        ("media media-1", "decentcom.db", 1, reason),
        ("attachments attachment-1", "decentcom.db", 1, reason),
    ]
    assert list(store.blobs.list()) == []
    assert MediaStore(store).get("media-1") is None
    (folder / HELLO).write_bytes(b"hello")
    assert import_decentcom(store, database(tmp_path), folder).imported == 2
    assert MediaStore(store).get("media-1") == b"hello"


@pytest.mark.parametrize("size", [4, 6])
def test_an_upload_of_another_size_than_its_row_says_is_refused_and_named(
    memory: Store, tmp_path: Path, size: int
) -> None:
    path = database(tmp_path)
    execute(path, "UPDATE media SET size_bytes = ?", size)

    report = import_decentcom(memory, path, media_folder(tmp_path))

    reason = f"file {HELLO} has 5 bytes, its row says {size}"
    assert refused(report, "media ", "attachments ") == [
        ("media media-1", "decentcom.db", 1, reason)
    ]
    assert AttachmentStore(memory).get("attachment-1")


def test_without_a_folder_all_uploads_are_refused_and_all_else_is_taken(
    monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    monkeypatch.delenv("REFOLD_BLOBS")
    with open_store(postgres_url, create=True) as store:
        report = import_decentcom(store, REAL)

        uploads = refused(report, "media ", "attachments ")
        assert len(uploads) == EXPECTED["rows"]["media"] + EXPECTED["rows"]["attachments"]
        assert {reason for _, _, _, reason in uploads} == {"no media folder was given"}
        assert report.imported == EXPECTED["rows"]["users"] + EXPECTED["rows"]["user_devices"]
        assert report.notes == []


def test_a_folder_needs_a_place_for_what_is_in_it(
    monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    monkeypatch.delenv("REFOLD_BLOBS")
    with open_store(postgres_url, create=True) as store:
        with pytest.raises(NoPlaceForBlobs):
            import_decentcom(store, REAL, MEDIA)

        assert store.log.heads()[0].position == 0


def test_several_rows_of_one_content_keep_their_ids_and_the_first_one_has_it(
    store: Store, tmp_path: Path
) -> None:
    path, folder = database(tmp_path), media_folder(tmp_path)
    for id in ("media-3", "media-2"):
        execute(path, f"INSERT INTO media SELECT '{id}', content_hash, mime_type, size_bytes,"
                " uploader_id, created_at FROM media WHERE id = 'media-1'")  # fmt: skip

    import_decentcom(store, path, folder)

    media = MediaStore(store)
    assert [row[0] for row in rows(store, "media")] == ["media-1", "media-2", "media-3"]
    assert {media.get(f"media-{number}") for number in (1, 2, 3)} == {b"hello"}
    assert media.put(HELLO, "text/plain", 5, "user-1", b"hello") == "media-1"
    media.delete("media-1")
    assert media.get_by_content_hash(HELLO) == ("text/plain", b"hello")


def test_a_content_that_is_here_already_keeps_its_id_beside_the_imported_one(
    store: Store, tmp_path: Path
) -> None:
    media, ada = MediaStore(store), UserStore(store).create("ada").id
    id = media.put(HELLO, "image/png", 5, ada, b"hello")

    report = import_decentcom(store, database(tmp_path), media_folder(tmp_path))

    assert refused(report, "media ") == []
    assert media.get("media-1") == b"hello"
    assert media.put(HELLO, "text/plain", 5, ada, b"hello") == id


def test_a_row_that_is_refused_is_no_contents_first(memory: Store, tmp_path: Path) -> None:
    path = database(tmp_path)
    execute(path, "INSERT INTO media SELECT 'media-2', content_hash, mime_type, size_bytes,"
            " uploader_id, created_at FROM media")  # fmt: skip
    execute(path, "UPDATE media SET mime_type = 'none' WHERE id = 'media-1'")

    report = import_decentcom(memory, path, media_folder(tmp_path))

    assert refused(report, "media ") == [
        ("media media-1", "decentcom.db", 1, "'none' is not a MIME type such as image/png")
    ]
    assert MediaStore(memory).put(HELLO, "text/plain", 5, "user-1", b"hello") == "media-2"


def test_a_file_of_an_attachment_alone_is_no_stray(memory: Store, tmp_path: Path) -> None:
    path, folder = database(tmp_path), media_folder(tmp_path)
    execute(path, "DELETE FROM media")
    (folder / "stray").write_bytes(b"")

    report = import_decentcom(memory, path, folder)

    assert report.notes == [("file stray", "no row leads to it")]
    assert AttachmentStore(memory).get("attachment-1")


# --- rows that change, and odd ones ---------------------------------------------------


def test_only_the_row_that_changed_is_imported_again(store: Store, tmp_path: Path) -> None:
    path, folder = database(tmp_path), media_folder(tmp_path)
    execute(path, "UPDATE sessions SET expires_at = ?", LATER)
    first = import_decentcom(store, path, folder)
    devices = DeviceKeyStore(store).list("user-1")
    later = LATER.replace("2990", "2991")
    execute(path, "UPDATE users SET display_name = 'Countess'")
    execute(path, "UPDATE sessions SET expires_at = ?", later)

    second = import_decentcom(store, path, folder)

    assert (first.imported, second.imported, second.unchanged) == (5, 2, 3)
    found = UserStore(store).get_by_pubkey(PUBKEY)
    assert found is not None
    assert found.display_name == "Countess"
    assert DeviceKeyStore(store).list("user-1") == devices
    assert [each.pubkey for each in devices] == [DEVICE_KEYS[0]]
    session = SessionStore(store).get(TOKEN)
    assert session is not None
    assert session.expires_at == later


@pytest.mark.parametrize("how", ["user.delete", "user.erase"])
def test_a_device_comes_back_with_its_user(store: Store, tmp_path: Path, how: str) -> None:
    path = database(tmp_path)
    import_decentcom(store, path)
    devices = DeviceKeyStore(store).list("user-1")

    for number in range(2):
        run(store, how, {"id": "user-1"}, command_id=f"go-{number}", actor="op")
        gone = import_decentcom(store, path)
        assert refused(gone, "users ", "user_devices ") == []
        assert DeviceKeyStore(store).list("user-1") == []
        fields = {"id": "user-1", "profile": {"displayName": "Ada"}}
        run(store, "user.register", fields, command_id=f"come-{number}", actor="op")
        import_decentcom(store, path)
        assert DeviceKeyStore(store).list("user-1") == devices

    assert import_decentcom(store, path).events == 0


def test_what_depends_on_a_row_that_is_refused_says_so(memory: Store, tmp_path: Path) -> None:
    path = database(tmp_path)
    execute(path, "UPDATE users SET pubkey = 'abc'")

    report = import_decentcom(memory, path, media_folder(tmp_path))

    assert refused(report, "users ", "user_devices ") == [
        ("users user-1", "decentcom.db", 1, "pubkey is the base58 of 3 bytes, not of 32"),
        ("user_devices device-1", "decentcom.db", 1, "user user-1 is not known"),
    ]


@pytest.mark.parametrize("issued", ["", "1713190553", "2026-04-15T14:15:53.123", "a\0b"])
def test_a_device_keeps_the_time_that_its_client_wrote(
    store: Store, tmp_path: Path, issued: str
) -> None:
    path = database(tmp_path)
    execute(path, "UPDATE user_devices SET issued_at = ?", issued)

    report = import_decentcom(store, path)

    [device] = DeviceKeyStore(store).list("user-1")
    assert device == DeviceKey("device-1", "user-1", *DEVICE_KEYS, "phone", issued, TIME)
    added = DeviceKeyStore(store).add("user-1", "9Zz", "x", None, issued)
    assert DeviceKeyStore(store).list("user-1") == [device, added]
    assert refused(report, "user_devices ") == []
    assert import_decentcom(store, path).events == 0


@pytest.mark.parametrize("avatar", ["", "ABC", HELLO.upper(), "a\0b"])
def test_an_odd_avatar_is_kept_as_it_stands_and_noted(
    store: Store, tmp_path: Path, avatar: str
) -> None:
    path = database(tmp_path)
    execute(path, "UPDATE users SET avatar_hash = ?", avatar)

    report = import_decentcom(store, path)

    assert UserStore(store).list() == [User("user-1", PUBKEY, "Ada", avatar, False, TIME, TIME)]
    assert UserStore(store).update("user-1", avatar_hash=avatar).avatar_hash == avatar
    assert report.notes == [("users user-1", "its avatar_hash is no SHA-256")]


def test_a_pubkey_that_is_here_already_is_refused_by_name(memory: Store, tmp_path: Path) -> None:
    id = UserStore(memory).create(PUBKEY).id

    report = import_decentcom(memory, database(tmp_path), media_folder(tmp_path))

    assert refused(report, "users ") == [
        ("users user-1", "decentcom.db", 1, f"this public key is already taken by user-{id}")
    ]


@pytest.mark.parametrize("last", [1, 4, 8, 11])
def test_every_generation_is_imported(memory: Store, tmp_path: Path, last: int) -> None:
    path = database(tmp_path, last)
    execute(path, "UPDATE sessions SET expires_at = ?", LATER)

    report = import_decentcom(memory, path, media_folder(tmp_path))

    assert report.refused == []
    assert report.imported == report.records == 3 + (last >= 6) + (last >= 10)
    assert UserStore(memory).list() == [User("user-1", PUBKEY, "Ada", None, False, TIME, TIME)]
    assert report.left_out["messages"] == 1
    assert 0 not in report.left_out.values()


def test_a_truncated_database_is_refused_and_nothing_is_written(
    store: Store, tmp_path: Path
) -> None:
    path = database(tmp_path)
    path.write_bytes(path.read_bytes()[:-1_000])

    with pytest.raises(Truncated):
        import_decentcom(store, path, media_folder(tmp_path))

    assert store.log.heads()[0].position == 0


def test_no_token_is_in_a_report_a_table_a_log_or_any_file(store: Store, tmp_path: Path) -> None:
    path = with_later_sessions(tmp_path)
    tokens = [row["token"] for row in original(tmp_path, "sessions", path)]
    report = import_decentcom(store, path, MEDIA)
    found = [SessionStore(store).get(token) for token in tokens]
    path.unlink()

    kept = [repr(report), json.dumps([each._asdict() for each in report.refused]), repr(found)]
    kept += [repr(store.family(record.stream)) for record in store.log.page(0, 0, 999)]
    kept += [*map(repr, store.log.page(0, 0, 999)), *map(str, rows(store, "sessions"))]
    kept += [str(file.read_bytes()) for file in tmp_path.rglob("*") if file.is_file()]

    everything = "".join(kept)
    assert [token for token in tokens if token in everything] == []
    assert [token for token in tokens if sha256(token.encode()).hexdigest() in everything] == tokens


def test_keys_of_devices_are_not_in_what_is_said_of_them(memory: Store, tmp_path: Path) -> None:
    path = database(tmp_path)
    execute(path, "UPDATE user_devices SET user_id = 'nobody'")
    execute(path, "UPDATE sessions SET expires_at = 'never'")

    report = import_decentcom(memory, path, media_folder(tmp_path))

    assert len(report.refused) == 2
    assert [secret for secret in (TOKEN, *DEVICE_KEYS) if secret in repr(report)] == []


# --- what the tests say things with ---------------------------------------------------


def unpacked(folder: Path) -> Path:
    path = folder / "real.db"
    if not path.exists():
        with gzip.open(REAL) as packed, path.open("wb") as out:
            shutil.copyfileobj(packed, out)
    return path


def original(folder: Path, table: str, path: Path | None = None) -> list[dict[str, Any]]:
    """Return the rows of the real set, or of `path`, as SQLite itself reads them."""
    with closing(sqlite3.connect(path or unpacked(folder))) as connection:
        connection.row_factory = sqlite3.Row
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]


def with_later_sessions(folder: Path) -> Path:
    """Return the real set where those sessions that lived when it was made live until 2990."""
    path = folder / "later.db"
    shutil.copyfile(unpacked(folder), path)
    (folder / "real.db").unlink()
    live = "julianday(expires_at) > julianday(?)"
    later = "'2990' || substr(expires_at, 5)"
    as_of = EXPECTED["sessions"]["as_of"]
    execute(path, f"UPDATE sessions SET expires_at = {later} WHERE {live}", as_of)
    return path


def has_file(row: dict[str, Any]) -> bool:
    return (MEDIA / str(row["content_hash"])).exists()


def media_folder(folder: Path) -> Path:
    """Make a folder of media with the bytes that the rows of `database` name."""
    media = folder / "media"
    media.mkdir()
    (media / HELLO).write_bytes(b"hello")
    return media


def refused(report: Report, *tables: str) -> list[Refusal]:
    return [each for each in report.refused if each.key.startswith(tables)]


def totals(store: Store) -> dict[str, object]:
    """Return all that an import made, but what is different each time: sealed boxes and times."""
    kept: dict[str, Sequence[Any]] = {
        name: rows(store, name) for name in ("users", "devices", "media", "attachments")
    }
    sessions = [(row[0], row[1], row[3], row[4]) for row in rows(store, "sessions")]
    return {**kept, "sessions": sessions, "blobs": list(store.blobs.list())}


def wait_for(store: Store, position: int) -> None:
    deadline = time.monotonic() + 60
    while store.log.heads()[0].position < position:
        assert time.monotonic() < deadline
        time.sleep(0.001)
