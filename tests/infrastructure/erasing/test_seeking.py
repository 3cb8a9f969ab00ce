"""What counts as a text that is left, and where it is found that no row has it."""

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from refold.domain.errors import Conflict
from refold.domain.texts import canonical_json
from refold.infrastructure import config
from refold.infrastructure.checking import doctor
from refold.infrastructure.commands import run
from refold.infrastructure.erasing import erasing, person, scanning
from refold.infrastructure.erasing.certificate import Finding
from refold.infrastructure.erasing.erasing import erase
from refold.infrastructure.erasing.seeking import Seeker, Value, of_profile, of_session
from refold.infrastructure.open import open_store
from refold.infrastructure.services import media
from refold.infrastructure.services.sessions import list_sessions
from refold.infrastructure.services.users import show_user
from refold.infrastructure.sqlite.compacting import compact, pages
from refold.infrastructure.store import Store
from refold.projections.columns import storable

LONG, SHORT = Value("display name", 'Ada "Ö" Lovelace'), Value("user name", "ada")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ada", {SHORT}),
        ("ADA", {SHORT}),
        ('{"user":"ada"}', {SHORT}),
        ("adam", set()),
        ("canada", set()),
        (LONG.text, {LONG}),
        (f"letters of {LONG.text.upper()}, 1843", {LONG}),
        (canonical_json({"x": [LONG.text]}), {LONG}),
        ("Ada Lovelace", set()),
        ("", set()),
    ],
)
def test_short_texts_are_sought_as_a_whole_and_long_ones_anywhere(
    text: str, found: set[Value]
) -> None:
    assert Seeker([LONG, SHORT]).find(["before", text, "behind"]) == found


def test_what_is_the_same_as_a_user_name_counts_as_that() -> None:
    same, other = Value("profile field", "ADA"), Value("profile field", "ada l.")

    seeker = Seeker([same, SHORT, other])

    assert seeker.find(["ada"]) == {SHORT}
    assert seeker.counts() == {"profile field": 1, "user name": 1}


@pytest.mark.parametrize(
    "text", ["nul\0 and \ud800", "line\nbreak", "x" * 9_000 + "y", "back\\slash \\"]
)
def test_odd_texts_are_found_as_columns_and_json_hold_them(text: str) -> None:
    value = Value("profile field", text)
    seeker = Seeker([value])

    for written in (text, canonical_json({"x": text}), storable(text)):
        assert seeker.find([written]) == {value}
    assert seeker.find_in_bytes(canonical_json(text).encode()) == {value}


def test_times_and_single_characters_tell_nobody_and_sessions_are_sought_by_their_parts() -> None:
    profile = {"createdAt": "2024-10-25T15:57:49.883Z", "initial": "A", "admin": True, "n": 7}
    body = '{"id":"short","token":"a-token-that-is-long","at":"2024-10-25T15:57:49.883Z"}'

    assert list(of_profile(profile)) == []
    assert [value.text for value in of_session(body)] == [body, "a-token-that-is-long"]


def test_what_stands_on_a_free_page_is_found_until_the_file_is_compacted(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE t (x TEXT) STRICT")
        connection.execute("INSERT INTO t VALUES (?), ('kept')", (LONG.text,))
        connection.execute("DELETE FROM t WHERE x <> 'kept'")
        seeker, wrapped = Seeker([LONG, SHORT]), [b"kept"]

        _, before = scanning.file(path, seeker, [], ())
        _, excused = scanning.file(path, seeker, [], {LONG})
        compact(path)
        size, after = scanning.file(path, seeker, wrapped, ())

        assert before == [Finding("display name", "file.db", scanning.OUTSIDE, ())]
        assert excused == []
        assert after == [Finding("key", "file.db", scanning.OUTSIDE, ())]
        assert size == path.stat().st_size
        assert path.with_name("file.db-wal").stat().st_size == 0
        assert connection.execute("SELECT x FROM t").fetchall() == [("kept",)]


def test_the_copy_that_is_looked_into_has_no_name_that_could_stay(tmp_path: Path) -> None:
    path = tmp_path / "file.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (x TEXT) STRICT")
        connection.executemany("INSERT INTO t VALUES (?)", [(LONG.text * 99,)] * 99)
        connection.commit()
        before = sorted(tmp_path.iterdir())

        with pages(path) as data:
            there = sorted(tmp_path.iterdir())
            assert data.find(LONG.text.encode()) > 0

    assert there == before


def test_who_is_changed_all_the_time_is_not_erased(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_store(f"sqlite:///{tmp_path}/store.db", create=True) as store:
        numbers, next_command_id = count(), person.next_command_id

        def do(name: str, **profile: object) -> None:
            data = {"id": "1", "profile": profile}
            run(store, name, data, command_id=f"c{next(numbers)}", actor="a")

        def slowly(at: Store, who: person.Person) -> str:
            do("user.change", street=f"{next(numbers)} St James's Square")
            return next_command_id(at, who)

        do("user.register", username="ada")
        monkeypatch.setattr(erasing, "ATTEMPTS", 3)
        monkeypatch.setattr(person, "next_command_id", slowly)

        with pytest.raises(Conflict):
            erase(store, person.find(store, "ada"), actor="dpo")

        assert len(store.history("user-1")) == 1 + 3
        assert show_user(store, "1")


def test_a_session_that_is_another_users_now_is_theirs_alone(tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/store.db", create=True) as store:
        numbers, later = count(), "2990-01-01T00:00:00Z"

        def do(name: str, **data: object) -> None:
            run(store, name, data, command_id=f"c{next(numbers)}", actor="a")

        for id, name in (("1", "ada.lovelace"), ("2", "bo")):
            do("user.register", id=id, profile={"username": name})
        for name in "ada.lovelace", "bo":
            do("session.set", sid="s", body=f"a body of {name}", expires_at=later, user=name)

        made = erase(store, person.find(store, "ada.lovelace"), actor="dpo")

        assert (made.clean, made.sessions) == (True, 0)
        assert [each.body for each in list_sessions(store)] == ["a body of bo"]


def test_a_content_that_was_removed_is_missing_to_nobody(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    with open_store(url, create=True) as store:
        profile = {"username": "ada"}
        run(store, "user.register", {"id": "1", "profile": profile}, command_id="1", actor="a")
        media.put(store, [b"hers"], id="m", mime_type="image/png", uploader="1")

        assert erase(store, person.find(store, "ada"), actor="dpo").blobs_removed == 1

        assert list(store.blobs.list()) == []
    settings = config.read(url, None)
    examined = doctor.examine(settings.address(), settings)
    assert [each for each in examined.findings if each.check == "blobs"] == []
    with open_store(url) as store:
        again = media.put(store, [b"hers"], id="n", mime_type="image/png", uploader="2")
        assert again.media_id == "n"
        assert erase(store, person.find_by_id(store, "1"), actor="dpo").blobs_removed == 0
        assert len(list(store.blobs.list())) == 1
