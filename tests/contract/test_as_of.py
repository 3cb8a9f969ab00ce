"""What a store of the past promises: tables and things as they were at a position."""

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from io import StringIO
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.errors import DuplicateObject, InsufficientPrivilege
from sqlalchemy.exc import OperationalError

from refold.domain import times
from refold.domain.errors import BadInput, Refused
from refold.domain.file import UnknownFile
from refold.domain.ports import Recorded, State
from refold.domain.positions import PARTITION
from refold.infrastructure import past
from refold.infrastructure.commands import run
from refold.infrastructure.folding import pages
from refold.infrastructure.open import open_store
from refold.infrastructure.past import NameTaken, as_of, keep, positions_at
from refold.infrastructure.postgres.rows import ANALYST
from refold.infrastructure.services.files import search, show_file
from refold.infrastructure.services.pushes import show_push
from refold.infrastructure.services.repos import show_repo
from refold.infrastructure.services.users import list_users, show_user
from refold.infrastructure.store import Store
from refold.infrastructure.table_files import write_csv, write_jsonl
from refold.projections import catalog, file_tags, files, users
from refold.projections.projection import Projection
from refold.tests.contract.query_tables import at, prefix, query, receive, schema

SHA = "ab" * 32
OTHER = "cd" * 32
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
REJECTION = {"reviewer": {"username": "dan"}, "reason": "no"}
LATER, LATEST = "2999-01-01T00:00:00Z", "2999-06-01T00:00:00Z"
PUSH = {"type": "push", "steps": [], "error": False, "blocked": True, "authorised": False}


@pytest.fixture(autouse=True)
def settings_of_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A vault key and a place for blobs; three events a page, so that a short history has many."""
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    monkeypatch.setattr(pages, "PAGE", 3)


# --- whole tables -----------------------------------------------------------------


def asked(name: str, /, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.tuples(st.just(name), st.fixed_dictionaries(fields))


FILE = {"sha256": st.sampled_from([SHA, OTHER])}
TAG = {"tag": st.sampled_from(["a", "é/%"])}
VOTER = {"voter": st.sampled_from(["ada", "bo"])}
STANCE = {"stance": st.sampled_from([1, -1])}
NAME = {"name": st.sampled_from(["", "paper.pdf"])}
ID = {"id": st.sampled_from(["x", "y"])}
PROFILE = st.builds(lambda name: {"username": name, "email": f"{name}@h"}, st.sampled_from("ab"))
KEY, DEVICE = {"key": "ssh-ed25519 AAAA"}, {"pubkey": "a key", "created_at": "then"}
PUSHED = {"id": st.sampled_from("pq")}
DOCUMENT = st.builds(lambda id, url: {**PUSH, "id": id, "url": url}, PUSHED["id"], st.just("u"))
ROLE = {"role": st.sampled_from(["canPush", "canAuthorise"]), "username": st.just("ada")}
CONTENTS = {sha256(content).hexdigest(): content for content in (b"one", b"other")}
UPLOAD = {
    "id": st.sampled_from(["m", "n"]),
    "content_hash": st.sampled_from(sorted(CONTENTS)),
    "mime_type": st.just("a/b"),
    "uploader": st.sampled_from(["ada", "bo"]),
}
STEPS = st.one_of(
    asked("file.register", **FILE, cid=st.just(CID), **NAME),
    asked("file.change", **FILE, name=st.just("thesis.pdf")),
    asked("file.replace", **FILE, cid=st.just(CID), **NAME),
    asked("file.ban", **FILE, code=st.sampled_from([0, 9])),
    asked("file.reset_tag", **FILE, **TAG),
    asked("file.remove_tag", **FILE, **TAG),
    asked("tag_vote.cast", **FILE, **TAG, **VOTER, **STANCE),
    asked("tag_vote.withdraw", **FILE, **TAG, **VOTER),
    asked("removal_vote.cast", **FILE, **VOTER, **STANCE),
    asked("removal_vote.withdraw", **FILE, **VOTER),
    asked("user.register", **ID, profile=PROFILE),
    asked("user.change", **ID, profile=st.just({"admin": True})),
    asked("user.add_key", **ID, record=st.just(KEY)),
    asked("user.remove_key", **ID, key=st.just(KEY["key"])),
    asked("user.add_device", **ID, device=st.sampled_from("de"), record=st.just(DEVICE)),
    asked("user.delete", **ID),
    asked("user.erase", **ID),
    asked("session.set", sid=st.just("s"), body=st.just("b"), expires_at=st.just(LATER)),
    asked("session.touch", sid=st.just("s"), expires_at=st.just(LATEST)),
    asked("session.end", sid=st.just("s")),
    asked("push.record", document=DOCUMENT),
    asked("push.authorise", **PUSHED),
    asked("push.reject", **PUSHED, rejection=st.just(REJECTION)),
    asked("push.rekey", **PUSHED, new_id=PUSHED["id"]),
    asked("push.delete", **PUSHED),
    asked("repo.register", **ID, document=st.just({"name": "n", "url": "https://h/n.git"})),
    asked("repo.change", **ID, fields=st.just({"name": "new"})),
    asked("repo.grant", **ID, **ROLE),
    asked("repo.revoke", **ID, **ROLE),
    asked("repo.remove", **ID),
    asked("media.store", **UPLOAD),
    asked("media.delete", id=UPLOAD["id"]),
    asked("attachment.create", **UPLOAD, channel=st.just("c"), filename=st.just("f")),
    asked("attachment.attach", id=UPLOAD["id"], message=st.just("1"), uploader=st.just("ada")),
    asked("attachment.delete", id=UPLOAD["id"]),
    asked("migration.record", **ID),
    asked("migration.revert", **ID),
)  # fmt: skip
MINE = {"content_hash": sha256(b"one").hexdigest(), "mime_type": "a/b", "uploader": "ada"}
BEGINNING = [
    ("file.register", {"sha256": SHA, "cid": CID}),
    ("tag_vote.cast", {"sha256": SHA, "tag": "a", "voter": "ada", "stance": 1}),
    ("user.register", {"id": "x", "profile": {"username": "c"}}),
    ("session.set", {"sid": "s", "body": "b", "expires_at": LATER}),
    ("push.record", {"document": {**PUSH, "id": "p"}}),
    ("repo.register", {"id": "x", "document": {"name": "n", "url": "https://h/n.git"}}),
    ("user.add_key", {"id": "x", "record": KEY}),
    ("user.add_device", {"id": "x", "device": "d", "record": DEVICE}),
    ("repo.grant", {"id": "x", "role": "canPush", "username": "ada"}),
    ("media.store", {"id": "m", **MINE}),
    ("attachment.create", {"id": "m", "channel": "c", "filename": "f", **MINE}),
    ("migration.record", {"id": "x"}),
]


def test_every_table_has_a_row_before_the_steps_that_change_them() -> None:
    with open_store("memory:") as store:
        take(store, BEGINNING)
        store.folder.catch_up()

        assert [name for name, found in all_rows(store).items() if not found] == []


def test_a_table_of_the_past_is_the_fold_of_the_log_up_to_there(
    new_store: Callable[[], Store],
) -> None:
    @settings(max_examples=4, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEPS, min_size=20, max_size=40), st.data())
    def check(steps: list[tuple[str, Any]], data: st.DataObject) -> None:
        store = new_store()
        take(store, [*BEGINNING, *steps])
        end = store.advance.head()[PARTITION]
        store.folder.catch_up(at(data.draw(st.integers(0, end), label="folded up to")))
        two = st.sets(st.integers(len(BEGINNING), end), min_size=2, max_size=2)

        for position in data.draw(two, label="as of"):
            with as_of(store, at(position), *catalog.ALL) as then:
                found = all_rows(then)

            assert found == folded(store, store.log.page(0, 0, position))

    check()


def test_every_kind_of_event_is_folded_as_it_was(store: Store, golden: Sequence[Recorded]) -> None:
    receive(store, golden)

    for position in (0, len(golden) // 2, len(golden)):
        with as_of(store, at(position), *catalog.ALL) as then:
            found = all_rows(then)

        assert found == folded(store, golden[:position])


def folded(store: Store, records: Sequence[Recorded]) -> dict[str, list[Any]]:
    """Return the tables that those records make in another store."""
    with open_store("memory:") as other:
        other.log.change_state(State.FILLING)
        other.log.receive(records)
        opening = replace(other, codec=store.codec)
        opening.folder.catch_up()
        return all_rows(opening)


# --- what is known ----------------------------------------------------------------


@pytest.fixture
def tagged(store: Store) -> Store:
    """A store with a file, tagged at 2, voted for at 3 and 4, renamed at 5, untagged at 6."""
    paper = {"sha256": SHA}
    take(
        store,
        [
            ("file.register", {**paper, "cid": CID, "name": "paper.pdf"}),
            ("file.add_tag", {**paper, "tag": "t"}),
            ("tag_vote.cast", {**paper, "tag": "t", "voter": "ada", "stance": 1}),
            ("tag_vote.cast", {**paper, "tag": "t", "voter": "bo", "stance": 1}),
            ("file.change", {**paper, "name": "thesis.pdf"}),
            ("file.remove_tag", {**paper, "tag": "t"}),
        ],
    )
    return store


def test_a_tag_is_counted_as_it_was(tagged: Store) -> None:
    tags = []
    for position in range(7):
        with as_of(tagged, at(position), file_tags) as then:
            tags.append([row[4] for row in rows(then, file_tags)])

    assert tags == [[], [], [0], [1], [2], [2], []]
    assert rows(tagged_now(tagged), file_tags) == []


def tagged_now(store: Store) -> Store:
    store.folder.catch_up()
    return store


def test_a_file_is_shown_and_found_as_it_was(tagged: Store) -> None:
    with as_of(tagged, at(3), files) as then:
        shown = show_file(then, SHA)
        found = [search(then, text, after=None).total for text in ("paper", "thesis", "t")]
    with as_of(tagged, at(5)) as then:  # what is new to a store of the past ends with it, too
        found_now = [search(then, text, after="now").total for text in ("paper", "thesis", "t")]

    assert (shown.name, shown.tags) == ("paper.pdf", {"t": 1})
    assert found == [1, 0, 1]
    assert found_now == [0, 1, 1]
    assert show_file(tagged, SHA).tags == {}
    with as_of(tagged, at(0), files) as then:
        with pytest.raises(UnknownFile):
            show_file(then, SHA)
        assert search(then, "paper", after=None).total == 0


def test_what_git_proxy_keeps_is_shown_as_it_was(store: Store) -> None:
    take(
        store,
        [
            ("push.record", {"document": {**PUSH, "id": "p"}}),
            ("user.register", {"id": "1", "profile": {"username": "ada"}}),
            ("repo.register", {"id": "r", "document": {"name": "n", "url": "https://h/n.git"}}),
            ("push.reject", {"id": "p", "rejection": REJECTION}),
            ("user.change", {"id": "1", "profile": {"admin": True}}),
            ("repo.grant", {"id": "r", "role": "canPush", "username": "ada"}),
            ("push.rekey", {"id": "p", "new_id": "q"}),
        ],
    )  # fmt: skip

    with as_of(store, at(3)) as then:
        before = show_push(then, "q"), show_user(then, "1"), show_repo(then, "r")
    with as_of(store, at(6)) as then:
        after = show_push(then, "p"), show_user(then, "1"), show_repo(then, "r")

    assert ["rejected" in document for document in (before[0], after[0])] == [False, True]
    assert [document and document.get("admin") for document in (before[1], after[1])] == [
        None,
        True,
    ]
    assert [document and document["users"]["canPush"] for document in (before[2], after[2])] == [
        [],
        ["ada"],
    ]
    assert (before[0]["id"], after[0]["id"], show_push(store, "p")["id"]) == ("p", "p", "q")


def test_what_was_erased_since_stays_erased(store: Store) -> None:
    ada = {"username": "ada", "email": "ada@example.org"}
    take(store, [("user.register", {"id": "1", "profile": ada}), ("user.erase", {"id": "1"})])

    with as_of(store, at(1), users) as then:
        shown, listed = show_user(then, "1"), list(list_users(then, after=None))
        kept = json.dumps(rows(then, users))

    assert shown == {"_id": "1", "publicKeys": []}
    assert listed == [shown]
    assert "ada" not in kept


def test_a_log_of_the_past_ends_there_for_whoever_reads_it(tagged: Store) -> None:
    stream, vote = f"file-{SHA}", f"file-{SHA}/tag_vote/t/bo"

    with as_of(tagged, at(4)) as then:
        log = then.log
        read = [log.page(0, 0, 9), log.page(0, 3, 9), log.page(0, 4, 9), log.page(0, 5, 9)]
        of_streams = [log.stream(stream), log.stream(vote), log.streams([stream, vote])]
        read += [*of_streams, log.family(stream)]
        histories = [list(log.history(each).positions) for each in (stream, vote)]

    assert [sorted(each.position for each in records) for records in read] == [
        [1, 2, 3, 4],
        [4],
        [],
        [],
        [1, 2],
        [4],
        [1, 2, 4],
        [1, 2, 3, 4],
    ]
    assert histories == [[1, 2], [4]]


def test_a_past_is_gone_when_it_was_looked_at(tagged: Store) -> None:
    before = everything(tagged_now(tagged))

    with as_of(tagged, at(3), *catalog.ALL):
        pass

    assert everything(tagged) == before


def everything(store: Store) -> dict[str, list[Any]]:
    registry = ("projections", "checkpoints", "plans", "parked")
    return all_rows(store) | {name: query(store, f"SELECT * FROM {{}}{name}") for name in registry}


# --- positions and times ----------------------------------------------------------


def test_a_time_names_the_last_position_recorded_by_then(store: Store) -> None:
    receive(store, [record(position, at) for position, at in enumerate((10, 10, 20, 35), 1)])

    named = [positions_at(store, times.text(micros)) for micros in (9, 10, 11, 19, 20, 34, 35, 36)]

    assert named == [at(each) for each in (0, 2, 2, 2, 3, 3, 4, 4)]
    assert positions_at(store, "1970-01-01T01:00:00.000020999+01:00") == at(3)
    assert [positions_at(store, str(each)) for each in range(5)] == [at(each) for each in range(5)]


def record(position: int, at: int) -> Recorded:
    stream = f"migration-{position}"
    return Recorded(
        0, position, stream, 1, "migration.applied", 1, b'{"id":"1"}', b"{}", at, stream, 0
    )  # fmt: skip


def test_a_time_names_the_empty_store_when_nothing_was_recorded() -> None:
    with open_store("memory:") as store:
        assert positions_at(store, LATER) == positions_at(store, "0") == at(0)


def test_what_names_no_position_is_refused() -> None:
    with open_store("memory:") as store:
        take(store, BEGINNING)
        end = store.advance.head()[PARTITION]
        with pytest.raises(Refused) as refusal:
            positions_at(store, str(end + 1))
        for text in ("", "-1", "1.5", "yesterday", "2025-08-05", "٣"):
            with pytest.raises(BadInput, match="is neither a position nor a time such as 2025-"):
                positions_at(store, text)
        with pytest.raises(BadInput, match="a position has at most 19 digits, not 20"):
            positions_at(store, "9" * 20)

    assert str(refusal.value) == f"position {end + 1} is beyond the end of the log at {end}"


# --- files and tables of the past -------------------------------------------------


def test_a_table_of_the_past_is_written_as_tables_are(tagged: Store) -> None:
    lines, csv = StringIO(), StringIO()

    with as_of(tagged, at(4), file_tags) as then:
        counts = (
            write_jsonl(then, "file_tags", lines, None),
            write_csv(then, "file_tags", csv, None),
        )

    row = {"sha256": SHA, "tag": "t", "generation": 1, "baseline": 0, "tag_count": 2}
    assert counts == (1, 1)
    assert json.loads(lines.getvalue()) == row
    assert csv.getvalue() == f"{','.join(row)}\n{SHA},t,1,0,2\n"


def test_a_table_of_the_past_can_be_kept_beside_those_of_now(
    tagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(past, "ROWS_AT_ONCE", 2)
    more = [{"sha256": SHA, "tag": tag} for tag in "abcd"]
    take(tagged, [("file.add_tag", each) for each in more])
    end = tagged.advance.head()

    with as_of(tagged, end, file_tags, files) as then:
        counts = keep(tagged, then, file_tags, "tags_then"), keep(tagged, then, files, "files_then")
    take(tagged, [("file.remove_tag", each) for each in more])
    tagged.folder.catch_up()

    assert counts == (4, 1)
    kept = query(tagged, "SELECT * FROM {}tags_then")
    assert sorted(kept) == [(SHA, tag, 1, 0, 0) for tag in "abcd"]
    assert rows(tagged, file_tags) == []
    assert shape(tagged, "tags_then") == shape(tagged, "file_tags_1")
    assert shape(tagged, "files_then") == shape(tagged, "files_1")


def shape(store: Store, table: str) -> tuple[Any, ...]:
    """Return the columns of a table with types and comments, its key and its own comment."""
    with store.tables.reading() as connection:
        inspector, place = sa.inspect(connection), schema(store)
        columns = [
            (each["name"], str(each["type"]), each["nullable"], each.get("comment"))
            for each in inspector.get_columns(table, place)
        ]
        key = inspector.get_pk_constraint(table, place)["constrained_columns"]
        with suppress(NotImplementedError):  # SQLite has no comments
            return columns, key, inspector.get_table_comment(table, place)
        return columns, key


TAKEN = (
    *("files", "files_2", "files_1_search", "push_activity", "parked", "trackings", "mine"),
    *("sqlite_x", "an_index"),
)
KEYWORDS = ("nothing", "returning", "user", "order")
ILL_FORMED = ("", "Mine", "1st", "a b", 'a"; DROP TABLE x', "a" * 64, "é")


def test_a_name_that_is_none_or_taken_or_may_come_to_be_is_refused(tagged: Store) -> None:
    with as_of(tagged, at(4), file_tags) as then:
        keep(tagged, then, file_tags, "mine")
        with tagged.tables.writing() as connection:
            connection.exec_driver_sql(f"CREATE INDEX an_index ON {prefix(tagged)}mine (tag)")
        before = everything(tagged_now(tagged))
        for name in TAKEN:
            with pytest.raises(NameTaken, match=name):
                keep(tagged, then, file_tags, name)
        for name in ILL_FORMED:
            with pytest.raises(BadInput, match="is no name for a table"):
                keep(tagged, then, file_tags, name)

    assert everything(tagged) == before


@pytest.mark.parametrize("name", KEYWORDS)
def test_a_name_may_be_a_keyword_of_sql(tagged: Store, name: str) -> None:
    with as_of(tagged, at(4), file_tags) as then:
        keep(tagged, then, file_tags, name)
        with pytest.raises(NameTaken, match=name):
            keep(tagged, then, file_tags, name)

    assert query(tagged, f'SELECT tag FROM {{}}"{name}"') == [("t",)]


@pytest.mark.parametrize("name", ["events_pkey", "mine_pkey", "mood"])
def test_a_name_that_an_index_or_type_of_postgres_has_is_refused(
    postgres_url: str, name: str
) -> None:
    with open_store(postgres_url, create=True) as store:
        take(store, BEGINNING)
        with store.tables.writing() as connection:
            connection.exec_driver_sql("CREATE TYPE refold.mood AS ENUM ('glad')")
        with as_of(store, at(4), file_tags) as then:
            keep(store, then, file_tags, "mine")
            with pytest.raises(NameTaken, match=name):
                keep(store, then, file_tags, name)


def test_a_table_that_cannot_be_kept_whole_is_not_kept(tagged: Store) -> None:
    with as_of(tagged, at(4), file_tags) as then:
        with then.tables.writing() as connection:
            connection.exec_driver_sql("DROP TABLE file_tags_1")
        with pytest.raises(OperationalError, match="no such table"):
            keep(tagged, then, file_tags, "tags_then")

    with tagged.tables.reading() as connection:
        assert not sa.inspect(connection).has_table("tags_then", schema(tagged))


def test_analysts_may_read_a_table_that_is_kept(shared_database: str) -> None:
    place = f"t_{token_hex(6)}"
    with psycopg.connect(shared_database, autocommit=True) as server:
        with suppress(DuplicateObject):
            server.execute(f"CREATE ROLE {ANALYST} NOLOGIN".encode())
        with open_store(f"{shared_database}?schema={place}", create=True) as store:
            take(store, BEGINNING)
            with as_of(store, at(3), file_tags, files) as then:
                keep(store, then, files, "before")
                server.execute(f"GRANT USAGE ON SCHEMA {place} TO {ANALYST}".encode())
                keep(store, then, file_tags, "tags_then")
        server.execute(f"SET ROLE {ANALYST}".encode())
        found = server.execute(f"SELECT tag, tag_count FROM {place}.tags_then".encode()).fetchall()
        with pytest.raises(InsufficientPrivilege):
            server.execute(f"DELETE FROM {place}.tags_then".encode())
        with pytest.raises(InsufficientPrivilege):
            server.execute(f"SELECT * FROM {place}.before".encode())
        server.execute(f"RESET ROLE; DROP SCHEMA {place} CASCADE".encode())

    assert found == [("a", 1)]


def test_progress_is_told_while_a_table_of_the_past_is_folded(tagged: Store) -> None:
    told: list[tuple[str, int, int | None]] = []

    with as_of(tagged, at(4), file_tags, progress=lambda *step: told.append(step)):
        pass

    assert {total for _, _, total in told} == {4}
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1][1] == 4


# --- saying it briefly ------------------------------------------------------------

NUMBERS = count()


def all_rows(store: Store) -> dict[str, list[Any]]:
    return {each.NAME: rows(store, each) for each in catalog.ALL}


def rows(store: Store, projection: Projection) -> list[Any]:
    with store.tables.reading() as connection:
        generation = store.tables.current(connection)[projection.NAME]
        return list(map(tuple, store.tables.rows.scan(connection, generation)))


def take(store: Store, steps: Sequence[tuple[str, Any]]) -> None:
    for name, fields in steps:
        if "content_hash" in fields:
            store.blobs.put([CONTENTS[fields["content_hash"]]])
        with suppress(Refused):  # what it is about may be unknown
            run(store, name, fields, command_id=f"as-of-{next(NUMBERS)}", actor="ada")
