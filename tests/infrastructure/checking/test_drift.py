"""Drift is found wherever a live row is not what the log makes, and nowhere else."""

import json
from collections.abc import Sequence
from itertools import count
from typing import Any

import pytest

from refold.domain import file
from refold.domain.ports import Command, NewEvent, Recorded, State, Write
from refold.infrastructure import daemon
from refold.infrastructure.checking.drift import Checked, find_drift
from refold.infrastructure.checking.live import Drifted
from refold.infrastructure.daemon import Daemon
from refold.infrastructure.store import Store
from refold.projections import (
    applied_migrations,
    catalog,
    file_tags,
    files,
    media,
    sessions,
    tag_votes,
    users,
)
from refold.tests.contract.query_tables import at, folder_of, query, receive, register
from refold.tests.infrastructure.checking.conftest import SHA, by_hand, do, with_a_tag

KEY = (SHA, "t")
ALL = catalog.ALL


def drifted(checked: Sequence[Checked]) -> dict[str, list[Drifted]]:
    return {each.table: list(each.drifted) for each in checked if each.drifted}


# --- what is found ----------------------------------------------------------------


def test_a_store_that_nobody_touched_has_no_drift(store: Store, golden: Sequence[Recorded]) -> None:
    receive(store, golden)
    store.folder.catch_up()

    checked = find_drift(store, ALL, 1_000, seed=1)

    assert drifted(checked) == {}
    assert {each.table for each in checked} == {each.NAME for each in ALL}
    assert {(each.positions, each.parked) for each in checked} == {(at(len(golden)), 0)}
    live = {each.NAME: len(query(store, f"SELECT * FROM {{}}{each.NAME}")) for each in ALL}
    assert all(each.rows >= live[each.table] for each in checked)
    assert sum(live.values()) > 10


def test_rows_that_were_changed_by_hand_are_named_with_both_values(tagged_store: Store) -> None:
    by_hand(tagged_store, "UPDATE {}file_tags_1 SET tag_count = 7")
    by_hand(
        tagged_store, "UPDATE {}files_1 SET name = 'forged', cid = 'x' WHERE name = 'paper.pdf'"
    )
    by_hand(tagged_store, "DELETE FROM {}tag_votes_1 WHERE voter = 'bo'")
    by_hand(tagged_store, "INSERT INTO {}media_1 VALUES ('m', 'h', NULL, NULL, 1, 't', 'u', 'now')")
    by_hand(tagged_store, "INSERT INTO {}push_aliases_1 VALUES ('no/stream', 'id')")

    found = drifted(find_drift(tagged_store, ALL, 10, seed=1))

    [(cid,)] = {(each.cells["cid"][1],) for each in found["files"]}
    assert cid.startswith("bafy")
    assert found == {
        "file_tags": [Drifted(KEY, "changed", {"tag_count": (7, 2)})],
        "files": [Drifted((SHA,), "changed", {"cid": ("x", cid), "name": ("forged", "paper.pdf")})],
        "tag_votes": [
            Drifted((*KEY, "bo"), "missing", {"generation": (None, 1), "stance": (None, 1)})
        ],
        "media": [
            Drifted(
                ("m",),
                "unexplained",
                {
                    "content_hash": ("h", None),
                    "size_bytes": (1, None),
                    "mime_type": ("t", None),
                    "uploaded_by": ("u", None),
                    "uploaded_at": ("now", None),
                },
            )
        ],
        "push_aliases": [Drifted(("no/stream", "id"), "unexplained", {})],
    }


def test_only_the_tables_that_are_asked_for_are_checked(tagged: Store) -> None:
    by_hand(tagged, "UPDATE {}file_tags_1 SET tag_count = 7")

    assert drifted(find_drift(tagged, [files, tag_votes], 10, seed=1)) == {}
    assert [each.table for each in find_drift(tagged, [file_tags], 10, seed=1)] == ["file_tags"]


def test_a_key_that_no_stream_can_have_is_unexplained(memory: Store) -> None:
    memory.folder.catch_up()
    by_hand(memory, "INSERT INTO media_1 VALUES ('m'||char(0), 'h', NULL, NULL, 1, 't', 'u', 'n')")

    [[row]] = drifted(find_drift(memory, [media], 10, seed=1)).values()

    assert (row.key, row.what) == (("m\0",), "unexplained")


def test_what_is_in_a_session_is_never_told(memory: Store) -> None:
    do(memory, "session.set", sid="s", body="s3cret", expires_at="2999-01-01T00:00:00Z")
    memory.folder.catch_up()
    by_hand(memory, "UPDATE sessions_1 SET sealed = '[1]'")

    [checked] = find_drift(memory, [sessions], 10, seed=1)

    assert [each.cells for each in checked.drifted] == [{"sealed": ("(sealed)", "(sealed)")}]
    assert "[1]" not in json.dumps(checked.document())


# --- what is none -----------------------------------------------------------------


def test_what_is_not_folded_yet_is_no_drift(tagged: Store) -> None:
    do(tagged, "tag_vote.withdraw", sha256=SHA, tag="t", voter="bo")
    do(tagged, "file.remove_tag", sha256=SHA, tag="t")
    tagged.folder.catch_up(at(5))

    checked = find_drift(tagged, ALL, 10, seed=1)

    assert drifted(checked) == {}
    assert {each.positions for each in checked} == {at(5)}
    assert query(tagged, "SELECT tag_count FROM {}file_tags") == [(1,)]


def test_each_table_is_compared_where_it_stands(tagged: Store) -> None:
    do(tagged, "tag_vote.withdraw", sha256=SHA, tag="t", voter="bo")
    folder_of(tagged, [tag_votes]).catch_up()

    checked = find_drift(tagged, [file_tags, tag_votes], 10, seed=1)

    assert drifted(checked) == {}
    assert [each.positions for each in checked] == [at(4), at(5)]


def test_who_was_erased_meanwhile_is_no_drift(memory: Store) -> None:
    for id in "1", "2":
        do(memory, "user.register", id=id, profile={"username": f"u{id}"})
    memory.folder.catch_up()
    by_hand(memory, "UPDATE {}users_1 SET admin = 1 WHERE id = '2'")
    do(memory, "user.erase", id="1")

    [checked] = find_drift(memory, [users], 10, seed=1)

    assert checked.drifted == [Drifted(("2",), "changed", {"admin": (1, 0)})]
    assert checked.positions == at(3)


def test_parked_rows_are_counted_apart(tagged: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    right = files.apply

    def apply(key: tuple[str], row: Any, event: Any) -> Any:
        if isinstance(event.value, file.Banned):
            raise ValueError
        return right(key, row, event)

    register(tagged, "other")
    monkeypatch.setattr(files, "apply", apply)
    do(tagged, "file.ban", sha256=SHA, code=9)
    tagged.folder.catch_up()
    monkeypatch.setattr(files, "apply", right)

    [checked] = find_drift(tagged, [files], 10, seed=1)

    assert (checked.rows, checked.parked, checked.drifted) == (1, 1, [])


def test_tables_that_cannot_go_on_are_told_and_the_others_compared(tagged_store: Store) -> None:
    store = tagged_store
    do(store, "migration.record", id="m")
    store.folder.catch_up()
    unknown = NewEvent("file.from_the_future", 1, b"{}", b"{}")
    store.log.append([Command("future", (Write(f"file-{SHA}", None, (unknown,)),))])
    folder_of(store, [applied_migrations]).catch_up()  # which goes on behind that event
    by_hand(store, "UPDATE {}file_tags_1 SET tag_count = 7")
    by_hand(store, "UPDATE {}projections SET fingerprint = 'x' WHERE name = 'media'")
    by_hand(store, "DELETE FROM {}applied_migrations_1")

    checked = find_drift(store, ALL, 10, seed=1)

    by_table = {each.table: each for each in checked}
    assert [each.table for each in checked] == [each.NAME for each in ALL]
    blocked = {each.table: each.blocked for each in checked if each.blocked}
    assert blocked.keys() == {"files", "file_counts", "file_tags", "media"}
    assert "event 6: event type file.from_the_future" in (blocked["files"] or "")
    assert "table media was folded by version" in (blocked["media"] or "")
    found = {
        table: [(row.key, row.what) for row in rows] for table, rows in drifted(checked).items()
    }
    assert found == {"applied_migrations": [(("m",), "missing")]}
    assert (by_table["file_tags"].positions, by_table["file_tags"].rows) == (at(5), 0)
    assert [each.blocked for each in find_drift(store, [media], 10, seed=1)] == [blocked["media"]]


def test_what_a_table_has_not_reached_is_not_read_for_it(memory: Store) -> None:
    with_a_tag(memory, until=3)
    unknown = NewEvent("file.from_the_future", 1, b"{}", b"{}")
    memory.log.append([Command("future", (Write(f"file-{SHA}", None, (unknown,)),))])
    folder_of(memory, [applied_migrations]).catch_up()

    checked = find_drift(memory, ALL, 10, seed=1)

    assert {(each.positions, each.blocked) for each in checked} == {(at(3), None), (at(5), None)}
    assert drifted(checked) == {}


def test_an_empty_store_has_no_drift(memory: Store) -> None:
    assert drifted(find_drift(memory, ALL, 1, seed=0)) == {}


# --- what is drawn ----------------------------------------------------------------


@pytest.fixture
def forged(memory: Store) -> Store:
    """A store with 40 files, all of them changed by hand, and 40 rows that no event made."""
    for number in range(40):
        register(memory, f"{number:02}")
    memory.folder.catch_up()
    by_hand(memory, "UPDATE files_1 SET cid = 'x'")
    by_hand(memory, "INSERT INTO push_aliases_1 SELECT sha256, 'id' FROM files_1")
    return memory


def keys(checked: Sequence[Checked]) -> dict[str, list[Any]]:
    return {table: [each.key for each in rows] for table, rows in drifted(checked).items()}


def test_the_same_seed_draws_the_same_rows(forged: Store) -> None:
    first, again, other = (keys(find_drift(forged, ALL, 5, seed)) for seed in (7, 7, 8))

    assert first == again
    assert first != other
    assert 5 <= len(first["files"]) <= 10
    assert len(first["push_aliases"]) == 5


def test_every_row_may_be_drawn(forged: Store) -> None:
    looks = [keys(find_drift(forged, ALL, 5, seed)) for seed in range(40)]

    aliases = {key for each in looks for key in each.get("push_aliases", ())}
    assert len(aliases) == 40


def test_rows_that_events_touched_are_drawn_though_they_are_gone(forged: Store) -> None:
    by_hand(forged, "DELETE FROM files_1")

    looks = [keys(find_drift(forged, [files], 5, seed)) for seed in range(60)]

    assert {len(each["files"]) for each in looks} == {5}
    assert len({key for each in looks for key in each["files"]}) == 40


# --- the daemon -------------------------------------------------------------------


def test_the_daemon_says_what_differs_and_no_value(
    tagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(tagged, "UPDATE {}file_tags_1 SET tag_count = 777")
    by_hand(tagged, "DELETE FROM {}tag_votes_1 WHERE voter = 'bo'")
    said: list[tuple[str, dict[str, Any]]] = []
    now = 1000.0
    monkeypatch.setattr(daemon, "monotonic", lambda: now)
    watching = Daemon(tagged, lambda *event: said.append(event), drift_seconds=30)

    watching.step()
    first = [facts for what, facts in said if what == "drift"]
    now += 29
    watching.step()
    early = [facts for what, facts in said if what == "drift"]
    now += 1
    watching.step()

    changed = {"table": "file_tags", "key": f"{SHA} t", "row": "changed", "column": "tag_count"}
    missing = {"table": "tag_votes", "key": f"{SHA} t bo", "row": "missing"}
    assert first == early == [changed, missing]
    assert [facts for what, facts in said if what == "drift"] == [changed, missing] * 2
    assert "777" not in json.dumps(said)


def test_the_daemon_looks_for_drift_only_when_it_is_told(memory: Store) -> None:
    do(memory, "file.register", sha256=SHA, cid="Qm" + "a" * 44)
    memory.folder.catch_up()
    by_hand(memory, "UPDATE files_1 SET name = 'forged'")
    said: list[str] = []

    Daemon(memory, lambda what, _: said.append(what)).step()

    assert "drift" not in said


def watched(store: Store, said: list[tuple[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon that has time to look for drift at each step."""
    times = count(step=1_000)
    monkeypatch.setattr(daemon, "monotonic", lambda: next(times))
    return Daemon(store, lambda *event: said.append(event), drift_seconds=30)


def test_the_daemon_goes_on_with_the_tables_that_are_not_blocked(
    tagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(tagged, "UPDATE {}file_tags_1 SET tag_count = 777")
    by_hand(tagged, "DELETE FROM {}tag_votes_1 WHERE voter = 'bo'")
    by_hand(tagged, "UPDATE {}projections SET fingerprint = 'x' WHERE name = 'media'")
    unknown = NewEvent("file.from_the_future", 1, b"{}", b"{}")
    tagged.log.append([Command("future", (Write(f"file-{SHA}", None, (unknown,)),))])
    said: list[tuple[str, Any]] = []
    watching = watched(tagged, said, monkeypatch)

    watching.step()
    watching.step()

    missing = {"table": "tag_votes", "key": f"{SHA} t bo", "row": "missing"}
    assert [facts for what, facts in said if what == "drift"] == [missing] * 2
    assert [what for what, _ in said].count("blocked") == 1


def test_the_daemon_has_nothing_to_compare_where_all_tables_are_blocked(
    tagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(tagged, "UPDATE {}projections SET fingerprint = 'x'")
    tagged.log.change_state(State.SEALED, successor="sqlite:///there.db")  # so no session is ended
    said: list[tuple[str, Any]] = []

    watched(tagged, said, monkeypatch).step()

    assert [what for what, _ in said] == ["blocked"]


def test_an_event_that_cannot_be_read_and_comes_just_now_does_not_end_the_daemon(
    tagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fold_no_further(*_: object) -> bool:
        return False

    by_hand(tagged, "UPDATE {}projections SET fingerprint = 'x' WHERE name = 'media'")
    said: list[tuple[str, Any]] = []
    watching = watched(tagged, said, monkeypatch)
    monkeypatch.setattr(watching, "_fold", fold_no_further)

    watching.step()

    [(what, facts)] = said
    assert what == "blocked"
    assert "table media was folded by version" in facts["reason"]
