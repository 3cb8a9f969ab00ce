"""Reading decentcom's databases of every generation, their odd rows and files, and the media."""

import gzip
import json
import re
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import times
from refold.domain.errors import BadInput, Unavailable
from refold.domain.texts import NotASha256
from refold.infrastructure.legacy.decentcom.media import State
from refold.infrastructure.legacy.decentcom.records import Refusal
from refold.infrastructure.legacy.decentcom.rows import R, base58_size, instant
from refold.infrastructure.legacy.decentcom.snapshot import Damaged, NotDecentcom
from refold.infrastructure.legacy.decentcom.source import Source, read
from refold.infrastructure.legacy.large_object import Truncated

DATA = Path(__file__).parents[2] / "data" / "decentcom"
REAL, MEDIA = DATA / "decentcom.db.gz", DATA / "media"
EXPECTED = json.loads((DATA / "expected.json").read_text())["decentcom.db"]
IMPORTED = {"users", "user_devices", "sessions", "media", "attachments"}

TOKEN = "01HVTZZZZZZZZZZZZZZZZZZZZZ"
PUBKEY = "4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM"
DEVICE_KEYS = (
    "8opHzTAnfzRpPEx21XtnrVTX28YQuCpAjcn1PczScKh",
    "CiDwVBFgWV9E5MvXWoLgnEgn2hK7rJikbvfWavzAQz3",
)
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
TIME = "2026-04-15T14:15:53.123Z"
MICROS = 1_776_262_553_123_000


# --- the real set ---------------------------------------------------------------------


@pytest.fixture
def real() -> Iterator[Source]:
    with read(REAL, MEDIA) as source:
        yield source


def test_every_table_is_counted_as_imported_or_as_chat(real: Source) -> None:
    counted = {"_sqlx_migrations": 11, **real.rows, **real.chat}

    assert counted == EXPECTED["rows"]
    assert real.rows.keys() == IMPORTED


def test_the_generation_is_told(real: Source) -> None:
    found, schema = real.generation, EXPECTED["schema"]

    assert found.last_migration == schema["last_migration"]
    assert found.has_categories == schema["has_categories"]
    assert found.channel_name_unique == schema["channel_name_unique"]
    assert list(found.reactions_key) == schema["reactions_key"]
    assert (found.failed, real.unknown_columns) == ((), {})


def test_every_row_of_an_imported_table_is_kept_under_its_key(real: Source) -> None:
    for table, rows in everything(real).items():
        ids = [row.token if table == "sessions" else row.id for row in rows]

        assert len(rows) == EXPECTED["rows"][table]
        assert sum_of(ids) == EXPECTED["primary_key_sha256"][table]
        assert [row.rowid for row in rows] == sorted(row.rowid for row in rows)
        assert {row.table for row in rows} == {table}
        assert len({row.digest for row in rows}) == len({row.key for row in rows}) == len(rows)


def test_users_come_with_the_figures_that_were_counted(real: Source) -> None:
    users, figures = kept(real.users()), EXPECTED["users"]

    assert sum(user.is_bot for user in users) == figures["bots"]
    assert sum(user.display_name is None for user in users) == figures["without_display_name"]
    assert (
        sum(user.pubkey.startswith("1") for user in users)
        == figures["pubkeys_with_leading_zero_bytes"]
    )


def test_sessions_live_or_not_by_instants_and_not_by_texts(real: Source) -> None:
    sessions, figures = kept(real.sessions()), EXPECTED["sessions"]
    now = times.micros(figures["as_of"])
    live = [session for session in sessions if session.expires_at.micros > now]
    by_text = [session for session in sessions if session.expires_at.text > figures["as_of"]]

    assert len(live) == figures["live"]
    assert len(sessions) - len(live) == figures["expired"]
    assert sum_of([session.token for session in live]) == figures["live_tokens_sha256"]
    assert len(by_text) == figures["live_if_compared_as_text"]
    assert {session.rowid for session in by_text} != {session.rowid for session in live}


def test_media_rows_and_files_come_with_the_figures_that_were_counted(real: Source) -> None:
    rows, figures = kept(real.media_rows()), EXPECTED["media"]
    files = {row.content_hash: real.media_file(row.content_hash) for row in rows}
    states = Counter(files[row.content_hash].state for row in rows)
    sound = [file for file in files.values() if file.state is State.PRESENT]

    assert states[State.PRESENT] == figures["rows_with_file"]
    assert states[State.ABSENT] == figures["rows_without_file"]
    assert states[State.OTHER_BYTES] == figures["rows_file_bytes_differ_from_hash"]
    assert sum(row.size_bytes == files[row.content_hash].size for row in rows) == 12
    assert figures["rows_fully_sound"] == 12
    assert sum(row.size_bytes for row in rows) == figures["bytes_by_rows"]
    assert sum(file.size for file in sound) == figures["bytes_of_distinct_sound_files_with_row"]
    assert len(files) == figures["distinct_hashes"]
    strays = real.files_without_row()
    assert len(strays) == figures["files_without_row"]
    assert [name for name in strays if not re.fullmatch("[0-9a-f]{64}", name)] == []


def test_attachments_come_with_the_figures_that_were_counted(real: Source) -> None:
    attachments, figures = kept(real.attachments()), EXPECTED["attachments"]
    hashes = {row.content_hash for row in kept(real.media_rows())}

    assert sum(each.message_id is not None for each in attachments) == figures["attached"]
    assert sum(each.size for each in attachments) == figures["bytes"]
    assert sum(each.deleted_at is not None for each in attachments) == figures["deleted"]
    assert (
        sum(each.content_hash not in hashes for each in attachments)
        == figures["hash_without_media_row"]
    )
    assert list(real.dangling()) == []


def test_several_tables_may_be_read_at_once(real: Source) -> None:
    pairs = list(zip(real.users(), real.sessions(), real.users(), strict=False))

    assert [first for first, _, _ in pairs] == [third for _, _, third in pairs]
    assert len(pairs) == 20


# --- times and keys -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        (TIME, MICROS),
        ("2026-04-15T14:15:53Z", MICROS - 123_000),
        ("2026-04-15 14:15:53", MICROS - 123_000),
        ("2026-04-15 14:15:53.123", MICROS),
        ("2026-04-15T14:15:53+00:00", MICROS - 123_000),
        ("2026-04-15T14:15:53.123+00:00", MICROS),
        ("2026-04-15T14:15:53.123456+00:00", MICROS + 456),
        ("2026-04-15T14:15:53.123456999+00:00", MICROS + 456),
        ("2026-04-15T16:15:53.123+02:00", MICROS),
        ("2026-04-15T09:15:53.123-05:00", MICROS),
        ("2026-04-15T19:45:53.123+05:30", MICROS),
        ("2026-04-15t14:15:53.123z", MICROS),
        ("1969-12-31T23:59:59.999999999Z", -1),
        (times.ZERO_TIME, -62_135_596_800_000_000),
    ],
)
def test_a_time_of_any_form_keeps_its_text_and_names_its_instant(
    tmp_path: Path, text: str, micros: int
) -> None:
    with read(changed(tmp_path, "sessions", "expires_at", text)) as source:
        [session] = kept(source.sessions())

    assert session.expires_at == (text, micros)


@given(st.datetimes(), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_the_instant_does_not_depend_on_the_form(at: datetime, offset: int) -> None:
    sign, (hours, minutes) = "+" if offset >= 0 else "-", divmod(abs(offset), 60)
    micros = instant(f"{at.isoformat('T', 'microseconds')}Z")

    assert instant(at.isoformat(" ", "microseconds")) == micros
    shifted = f"{at.isoformat('T', 'microseconds')}{sign}{hours:02}:{minutes:02}"
    try:
        assert instant(shifted) == micros - offset * 60_000_000
    except times.NotATime:
        assert at.year in (1, 9999)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2026-04-15",
        "2026-02-30T00:00:00Z",
        "2026-04-15T14:15:53",
        "2026-04-15T14:15:53.1234567890Z",
        "2026-04-15T24:00:00Z",
        "2026-04-15 14:15:53 UTC",
        "2026-04-15T14:15:53+0000",
        "2026-04-15T14:15:53+24:00",
        "\u0662026-04-15T14:15:53Z",
        "0001-01-01T00:00:00+00:01",
        "1776262553",
    ],
)
def test_what_is_no_time_is_refused_with_its_text(tmp_path: Path, text: str) -> None:
    with read(changed(tmp_path, "users", "updated_at", text)) as source:
        [refusal] = source.users()

    assert refusal == Refusal("users", 1, "user-1", f"updated_at {text!r} is not a time")


def test_base58_has_a_zero_byte_for_each_leading_one() -> None:
    assert base58_size("1" * 32) == 32
    assert base58_size(PUBKEY) == 32
    assert base58_size(f"1{PUBKEY}") == 33
    assert base58_size("") == 0
    assert [base58_size(text) for text in ("0", "O", "I", "l", "é", "1" * 1001)] == [None] * 6


# --- rows that are refused, one by one ------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column", "value", "reason"),
    [
        ("users", "pubkey", "0OIl", "pubkey is not base58"),
        ("users", "pubkey", "abc", "pubkey is the base58 of 3 bytes, not of 32"),
        ("users", "pubkey", b"\0" * 32, "pubkey is a blob, not a text"),
        ("users", "avatar_hash", b"x", "avatar_hash is a blob, not a text"),
        ("users", "display_name", b"x", "display_name is a blob, not a text"),
        ("users", "is_bot", 2, "is_bot is the number 2, not 0 or 1"),
        ("users", "is_bot", "yes", "is_bot is a text, not 0 or 1"),
        ("user_devices", "pubkey", "abc", "pubkey is the base58 of 3 bytes, not of 32"),
        ("user_devices", "issued_at", b"x", "issued_at is a blob, not a text"),
        ("user_devices", "created_at", "now", "created_at 'now' is not a time"),
        ("user_devices", "user_id", "", "user_id is empty"),
        ("sessions", "expires_at", "never", "expires_at 'never' is not a time"),
        ("sessions", "is_read_only", 1.5, "is_read_only is the number 1.5, not 0 or 1"),
        ("media", "size_bytes", -1, "size_bytes is the number -1, not a count"),
        ("media", "size_bytes", "many", "size_bytes is a text, not a count"),
        (
            *("media", "content_hash", HELLO.upper()),
            f"content_hash {HELLO.upper()!r} is not 64 lower-case hex digits",
        ),
        (
            *("media", "content_hash", "x" * 100),
            f"content_hash '{'x' * 80}…' is not 64 lower-case hex digits",
        ),
        ("attachments", "content_hash", "", "content_hash '' is not 64 lower-case hex digits"),
        ("attachments", "width", -1, "width is the number -1, not a count"),
        ("attachments", "message_id", "", "message_id is empty"),
        ("attachments", "deleted_at", "", "deleted_at '' is not a time"),
    ],
)
def test_an_odd_row_is_refused_alone_with_its_reason(
    tmp_path: Path, table: str, column: str, value: object, reason: str
) -> None:
    with read(changed(tmp_path, table, column, value)) as source:
        found = {name: list(rows()) for name, rows in readers(source).items()}

    [refusal] = found.pop(table)
    key = sha256(TOKEN.encode()).hexdigest() if table == "sessions" else KEYS[table]
    assert refusal == Refusal(table, 1, key, reason)
    assert not any(isinstance(row, Refusal) for rows in found.values() for row in rows)


@pytest.mark.parametrize("id", [None, "", b"blob"])
def test_a_row_without_a_usable_key_is_refused_by_its_rowid(tmp_path: Path, id: object) -> None:
    with read(changed(tmp_path, "media", "id", id)) as source:
        [refusal] = source.media_rows()

    assert isinstance(refusal, Refusal)
    assert (refusal.rowid, refusal.key) == (1, "")


def test_bytes_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    path = database(tmp_path)
    execute(path, "UPDATE users SET display_name = CAST(x'61ff' AS TEXT)")

    with read(path) as source:
        [refusal] = source.users()

    assert refusal == Refusal("users", 1, "user-1", "display_name holds bytes that are not UTF-8")


@pytest.mark.parametrize("name", ["", "a\0b", "Zoë 💻", "<script>", "x" * 100_000])
def test_any_other_text_is_kept_as_it_is(tmp_path: Path, name: str) -> None:
    with read(changed(tmp_path, "attachments", "filename", name)) as source:
        [attachment] = kept(source.attachments())

    assert attachment.filename == name


@pytest.mark.parametrize("text", ["", "1713190553", "2026-04-15T14:15:53.123", "a\0b"])
def test_what_a_client_wrote_is_kept_as_it_is(tmp_path: Path, text: str) -> None:
    with read(changed(tmp_path, "user_devices", "issued_at", text)) as source:
        [device] = kept(source.devices())

    assert device.issued_at == text


def test_rows_that_refer_to_nothing_are_kept_and_listed(tmp_path: Path) -> None:
    with read(changed(tmp_path, "sessions", "user_id", "nobody")) as source:
        [session] = kept(source.sessions())

        assert session.user_id == "nobody"
        assert ("sessions", 1, "users") in list(source.dangling())


def test_tokens_and_keys_of_devices_are_shown_nowhere(tmp_path: Path) -> None:
    path = database(tmp_path)
    with read(path) as source:
        shown = repr(everything(source)) + repr(source)
    execute(path, "UPDATE sessions SET expires_at = 'never'")
    execute(path, f"UPDATE user_devices SET pubkey = '{DEVICE_KEYS[0]}z'")
    with read(path) as source:
        shown += repr([*source.sessions(), *source.devices()])

    assert PUBKEY in shown
    assert [shown.count(secret) for secret in (TOKEN, *DEVICE_KEYS)] == [0, 0, 0]


def test_the_digest_covers_every_column_and_only_columns(tmp_path: Path) -> None:
    def digest(statement: str) -> str:
        execute(path, statement)
        with read(path) as source:
            return kept(source.users())[0].digest

    path = database(tmp_path)
    first = digest("SELECT 1")
    assert digest("UPDATE users SET rowid = 7") == first
    assert digest("VACUUM") == first
    assert (
        first
        == sha256(
            (
                f'{{"avatar_hash":null,"created_at":"{TIME}","display_name":"Ada","id":"user-1",'
                f'"is_bot":0,"pubkey":"{PUBKEY}","updated_at":"{TIME}"}}'
            ).encode()
        ).hexdigest()
    )
    found = [
        first,
        digest("UPDATE users SET display_name = 'Bo'"),
        digest("ALTER TABLE users ADD COLUMN motto"),
        digest("UPDATE users SET motto = x'00ff'"),
        digest("UPDATE users SET motto = 0.5"),
        digest("UPDATE users SET motto = 9e999"),
    ]
    assert len(set(found)) == len(found)


def test_columns_that_no_record_has_are_told(tmp_path: Path) -> None:
    path = database(tmp_path)
    execute(path, "ALTER TABLE media ADD COLUMN orphaned_at TEXT")

    with read(path) as source:
        assert source.unknown_columns == {"media": ("orphaned_at",)}
        assert len(kept(source.media_rows())) == 1


# --- generations ----------------------------------------------------------------------


@pytest.mark.parametrize("last", range(1, 12))
def test_every_generation_is_read(tmp_path: Path, last: int) -> None:
    with read(database(tmp_path, last)) as source:
        found = {table: len(kept(rows())) for table, rows in readers(source).items()}
        [user], [session] = kept(source.users()), kept(source.sessions())

        assert source.generation.last_migration == last
        assert source.generation.has_categories == (last < 5)
        assert ("categories" in source.chat) == (last < 5)
        assert ("roles" in source.chat) == (last >= 2)
    expected = {"users": 1, "sessions": 1, "media": 1}
    assert found == {
        **expected,
        "attachments": int(last >= 6),
        "user_devices": int(last >= 10),
    }
    assert (user.is_bot, session.is_read_only) == (False, False)


def test_a_database_stuck_before_005_keeps_its_channels_and_says_what_failed(
    tmp_path: Path,
) -> None:
    path = database(tmp_path, 4)
    execute(path, f"INSERT INTO _sqlx_migrations VALUES {applied(5, success=0)}")

    with read(path) as source:
        assert source.generation.last_migration == 4
        assert source.generation.failed == (5,)
        assert source.generation.has_categories
        assert source.chat["channels"] == source.chat["categories"] == 1


def test_the_superseded_reactions_and_channel_names_are_told_apart(tmp_path: Path) -> None:
    path = database(tmp_path)
    execute(path, "DROP TABLE reactions")
    execute(
        path,
        "CREATE TABLE reactions (emoji TEXT, message_id TEXT, user_id TEXT, created_at TEXT,"
        " PRIMARY KEY (message_id, user_id, emoji))",
    )
    execute(path, "DROP TABLE channels")
    execute(path, "CREATE TABLE channels (id TEXT PRIMARY KEY, name TEXT NOT NULL)")
    execute(path, "CREATE INDEX channels_by_name ON channels(name)")

    with read(path) as source:
        assert source.generation.reactions_key == ("message_id", "user_id", "emoji")
        assert not source.generation.channel_name_unique
        assert source.chat["reactions"] == 0
    with read(database(tmp_path, 6)) as source:
        assert source.generation.reactions_key == ()
        assert source.generation.channel_name_unique


def test_tables_that_nobody_knows_are_counted_but_no_views_and_no_search_indexes(
    tmp_path: Path,
) -> None:
    path = database(tmp_path)
    execute(path, 'CREATE TABLE "audit ""log" (id TEXT)')
    execute(path, 'INSERT INTO "audit ""log" VALUES (1), (2)')
    execute(path, "CREATE VIEW everybody AS SELECT * FROM users")
    execute(path, "CREATE VIRTUAL TABLE messages_fts USING fts5(content)")

    with read(path) as source:
        assert source.chat['audit "log'] == 2
        assert not any(name.startswith(("everybody", "messages_fts")) for name in source.chat)


@pytest.mark.parametrize(
    ("statement", "lacking"),
    [
        ("DROP TABLE _sqlx_migrations", "users or _sqlx_migrations"),
        ("DROP TABLE users", "users or _sqlx_migrations"),
        ("ALTER TABLE users RENAME pubkey TO key", "users lacks pubkey"),
    ],
)
def test_a_database_of_another_program_is_refused(
    tmp_path: Path, statement: str, lacking: str
) -> None:
    path = database(tmp_path)
    execute(path, statement)

    with (
        pytest.raises(NotDecentcom, match=f"{path.name} is no database of decentcom.*{lacking}"),
        read(path),
    ):
        pass


# --- files ----------------------------------------------------------------------------


def test_rows_that_are_only_in_the_write_ahead_log_are_read(tmp_path: Path) -> None:
    path = database(tmp_path)
    with closing(in_wal_mode(path)) as writer:
        writer.execute("UPDATE users SET display_name = 'from the log'")
        before = listing(tmp_path)

        with read(path) as source:
            names = [user.display_name for user in kept(source.users())]
            writer.execute("UPDATE users SET display_name = 'later'")
            again = [user.display_name for user in kept(source.users())]

    assert (f"{path.name}-wal", True) in [(name, size > 0) for name, size, _ in before]
    assert names == again == ["from the log"]


@pytest.mark.parametrize("logged", [False, True])
def test_nothing_is_written_beside_the_original_and_no_copy_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: bool
) -> None:
    here, temporary = tmp_path / "here", tmp_path / "temporary"
    here.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    path = database(here)
    writer = in_wal_mode(path)
    if not logged:
        writer.close()
    before = listing(here)

    with read(path) as source:
        inside = listing(here), listing(temporary)
        assert len(everything(source)["users"]) == 1

    assert len(before) == (3 if logged else 1)
    assert inside == (before, [])
    assert listing(here) == before
    assert listing(temporary) == []
    writer.close()


def test_a_half_written_transaction_is_rolled_back_in_the_copy(tmp_path: Path) -> None:
    path, crashed = database(tmp_path), tmp_path / "crashed.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA cache_size = 1")
        writer.execute("BEGIN")
        writer.execute("UPDATE users SET display_name = 'half'")
        for n in range(300):
            writer.execute("INSERT INTO messages (id, content) VALUES (?, ?)", (f"m{n}", "x" * 900))
        crashed.write_bytes(path.read_bytes())
        Path(f"{crashed}-journal").write_bytes(Path(f"{path}-journal").read_bytes())
        before = listing(tmp_path)

        with read(crashed) as source:
            names = [user.display_name for user in kept(source.users())]
            messages = source.chat["messages"]

    assert (names, messages) == (["Ada"], 1)
    assert {each for each in before if each[0].startswith("crashed")} <= set(listing(tmp_path))


def test_a_link_leads_to_the_log_beside_the_file_it_names(tmp_path: Path) -> None:
    path, link = database(tmp_path), tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(path)
    with closing(in_wal_mode(path)) as writer:
        writer.execute("UPDATE users SET display_name = 'from the log'")

        with read(link) as source:
            assert kept(source.users())[0].display_name == "from the log"


@pytest.mark.parametrize("name", ["decentcom.db.bak-1776254400", "a b?mode=rw#%41.db"])
def test_a_file_may_be_called_anything(tmp_path: Path, name: str) -> None:
    path = database(tmp_path).rename(tmp_path / name)

    with read(path) as source:
        assert len(kept(source.users())) == 1
    assert [name for name, _, _ in listing(tmp_path)] == [name]


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = database(tmp_path)

    with read(path) as source:
        rows = source.users()
        next(rows)
        execute(path, "UPDATE users SET display_name = 'Bo'")
        with pytest.raises(BadInput, match=f"{path.name} was changed while it was read"):
            next(rows)


def test_a_log_that_appears_while_a_file_is_read_is_seen(tmp_path: Path) -> None:
    path = database(tmp_path)
    in_wal_mode(path).close()

    with read(path) as source, closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("UPDATE users SET display_name = 'Bo'")
        with pytest.raises(BadInput, match="was changed while it was read"):
            list(source.users())


@pytest.mark.parametrize("left", [0, 1, 50, 100, 4_095, 4_096, 50_000, 200_000, -4_096, -100, -1])
def test_a_truncated_file_is_refused_whole(tmp_path: Path, left: int) -> None:
    path = tmp_path / "cut.db"
    path.write_bytes(gzip.decompress(REAL.read_bytes())[: left or None] if left else b"")

    with pytest.raises(Truncated, match=r"cut\.db is cut off: it has \d+ bytes"), read(path):
        pass


@pytest.mark.parametrize("left", [0, 5, 100, 40_000, -1])
def test_a_truncated_gz_is_refused_whole(tmp_path: Path, left: int) -> None:
    path = tmp_path / "cut.db.gz"
    path.write_bytes(REAL.read_bytes()[:left])

    with pytest.raises(Truncated, match=r"cut\.db\.gz is cut off"), read(path):
        pass


def test_a_truncated_file_in_a_whole_gz_is_refused_whole(tmp_path: Path) -> None:
    path = tmp_path / "cut.db.gz"
    path.write_bytes(gzip.compress(gzip.decompress(REAL.read_bytes())[:-1]))

    with (
        pytest.raises(Truncated, match=r"has 397311 bytes of 397312"),
        read(path),
    ):
        pass


@pytest.mark.parametrize("cut", [1, 4_096, 8_192])
def test_a_truncated_file_with_a_log_is_refused_whole(tmp_path: Path, cut: int) -> None:
    path, copy = database(tmp_path), tmp_path / "cut.db"
    with closing(in_wal_mode(path)) as writer:
        writer.execute("UPDATE users SET display_name = 'from the log'")
        copy.write_bytes(path.read_bytes()[:-cut])
        Path(f"{copy}-wal").write_bytes(Path(f"{path}-wal").read_bytes())

    with pytest.raises(Truncated, match=r"cut\.db is cut off"), read(copy):
        pass


def test_pages_that_are_only_in_the_log_are_not_missing(tmp_path: Path) -> None:
    path = database(tmp_path)
    with closing(in_wal_mode(path)) as writer:
        writer.execute("INSERT INTO messages (id, content) VALUES ('m', ?)", ("x" * 50_000,))
        with read(path) as source:
            assert source.chat["messages"] == 2


def test_a_damaged_page_is_refused_whole(tmp_path: Path) -> None:
    path, pages = tmp_path / "damaged.db", bytearray(gzip.decompress(REAL.read_bytes()))
    pages[4_096 * 10 : 4_096 * 10 + 100] = b"\xa5" * 100
    path.write_bytes(pages)

    with pytest.raises(Damaged, match=r"damaged\.db is damaged"), read(path):
        pass


def test_a_damaged_schema_whose_text_is_no_utf_8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    content = gzip.decompress(REAL.read_bytes())
    path.write_bytes(content.replace(b"CREATE TABLE users", b"CREATE\xecTABLE users"))

    told = r"damaged\.db is damaged: names in it are no UTF-8"
    with pytest.raises(Damaged, match=told), read(path):
        pass


@pytest.mark.parametrize("content", [b"", b"{}", b"SQLite format 4\0" * 50, b"x" * 9_000])
@pytest.mark.parametrize("name", ["no.db", "no.db.gz"])
def test_what_is_no_database_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)

    with pytest.raises(BadInput, match=re.escape(name)), read(path):
        pass


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.db", tmp_path / "none.db.gz", tmp_path):
        with pytest.raises(BadInput, match=f"{path.name} cannot be opened"), read(path):
            pass
    assert listing(tmp_path) == []


# --- media ----------------------------------------------------------------------------


def test_a_file_of_media_is_present_absent_or_something_else(tmp_path: Path) -> None:
    media, other = tmp_path / "media", "a" * 64
    media.mkdir()
    (media / HELLO).write_bytes(b"hello")
    (media / other).write_bytes(b"hello")
    (media / ("b" * 64)).mkdir()

    with read(database(tmp_path), media) as source:
        present, wrong = source.media_file(HELLO), source.media_file(other)
        absent = [source.media_file(hash).state for hash in ("b" * 64, "c" * 64)]

        assert (present.state, present.size, present.actual) == (State.PRESENT, 5, HELLO)
        assert b"".join(present.chunks()) == b"hello"
        assert (wrong.state, wrong.size, wrong.actual) == (State.OTHER_BYTES, 5, HELLO)
        assert absent == [State.ABSENT] * 2
        with pytest.raises(Unavailable, match=r"c{64} cannot be read"):
            list(source.media_file("c" * 64).chunks())


def test_files_without_a_row_are_listed_whatever_they_are_called(tmp_path: Path) -> None:
    media = tmp_path / "media"
    media.mkdir()
    for name in (HELLO, HELLO.upper(), "a" * 64, ".part"):
        (media / name).write_bytes(b"hello")

    with read(database(tmp_path), media) as source:
        assert source.files_without_row() == [".part", HELLO.upper(), "a" * 64]


@pytest.mark.parametrize("name", ["../decentcom.db", "", ".", HELLO.upper(), f"{HELLO}\n"])
def test_only_sums_name_files_of_media(tmp_path: Path, name: str) -> None:
    with read(database(tmp_path), tmp_path) as source, pytest.raises(NotASha256):
        source.media_file(name)


def test_media_need_a_folder(tmp_path: Path) -> None:
    path = database(tmp_path)

    with pytest.raises(BadInput, match=r"decentcom\.db is no folder of media"), read(path, path):
        pass
    with read(path) as source, pytest.raises(BadInput, match="no folder of media is named"):
        source.media_file(HELLO)


# --- building and reading -------------------------------------------------------------

KEYS = {table: f"{table.removesuffix('s')}-1" for table in IMPORTED} | {"user_devices": "device-1"}
CREATED = "created_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))"
UPDATED = CREATED.replace("created_at", "updated_at")
USER = "TEXT NOT NULL REFERENCES users(id)"
BEGIN = """
    PRAGMA synchronous = OFF;
    BEGIN;
    CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,
        installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
        checksum BLOB NOT NULL, execution_time BIGINT NOT NULL);
"""
MIGRATIONS = {
    1: f"""
        CREATE TABLE users (id TEXT PRIMARY KEY, pubkey TEXT NOT NULL UNIQUE, display_name TEXT,
            avatar_hash TEXT, {CREATED}, {UPDATED});
        CREATE TABLE categories (id TEXT PRIMARY KEY, name TEXT NOT NULL, position INTEGER);
        CREATE TABLE channels (id TEXT PRIMARY KEY, name TEXT NOT NULL, topic TEXT,
            category_id TEXT REFERENCES categories(id), position INTEGER, {CREATED}, {UPDATED});
        CREATE TABLE messages (id TEXT PRIMARY KEY, channel_id TEXT, author_id TEXT, content TEXT,
            edited_at TEXT, deleted INTEGER NOT NULL DEFAULT 0, {CREATED});
        CREATE TABLE sessions (token TEXT PRIMARY KEY, user_id {USER}, {CREATED},
            expires_at TEXT NOT NULL);
        CREATE TABLE media (id TEXT PRIMARY KEY, content_hash TEXT NOT NULL,
            mime_type TEXT NOT NULL, size_bytes INTEGER NOT NULL, uploader_id {USER}, {CREATED});
        CREATE INDEX idx_media_by_hash ON media(content_hash);
        INSERT INTO users VALUES ('user-1', '{PUBKEY}', 'Ada', NULL, '{TIME}', '{TIME}');
        INSERT INTO categories VALUES ('category-1', 'Talk', 0);
        INSERT INTO channels (id, name, category_id) VALUES ('channel-1', 'all', 'category-1');
        INSERT INTO messages (id, content) VALUES ('message-1', 'hello');
        INSERT INTO sessions VALUES ('{TOKEN}', 'user-1', '{TIME}', '{TIME}');
        INSERT INTO media VALUES ('media-1', '{HELLO}', 'text/plain', 5, 'user-1', '{TIME}');
    """,
    2: """
        CREATE TABLE roles (id TEXT PRIMARY KEY, name TEXT NOT NULL, permissions INTEGER);
        CREATE TABLE member_roles (user_id TEXT, role_id TEXT, PRIMARY KEY (user_id, role_id));
        INSERT INTO roles VALUES ('everyone', 'everyone', 515), ('admin', 'admin', 16383);
    """,
    3: "CREATE TABLE invites (code TEXT PRIMARY KEY, created_by TEXT, expires_at TEXT);",
    4: "CREATE TABLE members (user_id TEXT PRIMARY KEY, joined_at TEXT);",
    5: f"""
        DROP TABLE channels;
        DROP TABLE categories;
        CREATE TABLE channels (id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, topic TEXT,
            category TEXT, position INTEGER NOT NULL DEFAULT 0, {CREATED}, {UPDATED});
    """,
    6: f"""
        CREATE TABLE attachments (id TEXT PRIMARY KEY, message_id TEXT, channel_id TEXT NOT NULL,
            uploader_id {USER}, filename TEXT NOT NULL, content_hash TEXT NOT NULL,
            size INTEGER NOT NULL, mime_type TEXT NOT NULL, width INTEGER, height INTEGER,
            {CREATED}, deleted_at TEXT);
        INSERT INTO attachments VALUES ('attachment-1', 'message-1', 'channel-1', 'user-1',
            'a.txt', '{HELLO}', 5, 'text/plain', NULL, NULL, '{TIME}', NULL);
    """,
    7: """
        CREATE TABLE reactions (message_id TEXT, user_id TEXT, emoji TEXT NOT NULL,
            created_at TEXT NOT NULL DEFAULT (datetime('now')), PRIMARY KEY (message_id, user_id));
    """,
    8: """
        CREATE TABLE threads (id TEXT PRIMARY KEY, parent_message_id TEXT NOT NULL UNIQUE);
        ALTER TABLE messages ADD COLUMN thread_id TEXT REFERENCES threads(id);
    """,
    9: """
        ALTER TABLE users ADD COLUMN is_bot INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE sessions ADD COLUMN is_read_only INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE bot_approvals (pubkey TEXT PRIMARY KEY, approved_at TEXT);
    """,
    10: f"""
        CREATE TABLE user_devices (id TEXT PRIMARY KEY, user_id {USER},
            pubkey TEXT NOT NULL UNIQUE, x25519_pubkey TEXT NOT NULL, device_name TEXT,
            issued_at TEXT NOT NULL, {CREATED});
        INSERT INTO user_devices VALUES ('device-1', 'user-1', '{DEVICE_KEYS[0]}',
            '{DEVICE_KEYS[1]}', 'phone', '{TIME}', '{TIME}');
    """,
    11: "CREATE TABLE pending_dms (id TEXT PRIMARY KEY, encrypted_blob TEXT NOT NULL);",
}


def database(folder: Path, last: int = 11) -> Path:
    """Make a database as it is after migration `last`, with a row in each imported table."""
    path = folder / "decentcom.db"
    path.unlink(missing_ok=True)
    steps = [BEGIN]
    for version in range(1, last + 1):
        steps += [MIGRATIONS[version], f"INSERT INTO _sqlx_migrations VALUES {applied(version)};"]
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("".join([*steps, "COMMIT;"]))
    return path


def applied(version: int, success: int = 1) -> str:
    return f"({version}, 'x', '2026-01-05 07:43:20', {success}, x'00', 1)"


def changed(folder: Path, table: str, column: str, value: object) -> Path:
    path = database(folder)
    execute(path, f'UPDATE "{table}" SET "{column}" = ?', value)
    return path


def execute(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(statement, values)


def in_wal_mode(path: Path) -> sqlite3.Connection:
    """Return a writer as decentcom is one, with something in the log and nothing written back."""
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    writer.execute("UPDATE users SET display_name = display_name")
    return writer


def listing(folder: Path) -> list[tuple[str, int, int]]:
    found = [(each.name, each.stat()) for each in folder.iterdir()]
    return sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in found)


def readers(source: Source) -> dict[str, Callable[[], Iterator[Any]]]:
    return {
        "users": source.users,
        "user_devices": source.devices,
        "sessions": source.sessions,
        "media": source.media_rows,
        "attachments": source.attachments,
    }


def everything(source: Source) -> dict[str, list[Any]]:
    return {table: kept(rows()) for table, rows in readers(source).items()}


def kept(rows: Iterable[R | Refusal]) -> list[R]:
    found = list(rows)
    assert [row for row in found if isinstance(row, Refusal)] == []
    return [row for row in found if not isinstance(row, Refusal)]


def sum_of(ids: list[str]) -> str:
    return sha256("\n".join(sorted(ids)).encode()).hexdigest()
