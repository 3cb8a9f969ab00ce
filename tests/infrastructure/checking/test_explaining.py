"""What is said of a row: which events made it, what each changed, and what none explains."""

import json
from contextlib import suppress
from typing import Any

import pytest

from refold.domain import file, tag_vote, user
from refold.domain.errors import LogWentBack, Unreadable
from refold.domain.ports import Command, Event, NewEvent, Write
from refold.domain.texts import IllFormedText
from refold.infrastructure import chain
from refold.infrastructure.checking.explaining import Explanation, UnknownRow, explain
from refold.infrastructure.checking.live import Drifted
from refold.infrastructure.store import Store
from refold.projections import (
    file_tags,
    files,
    media,
    push_aliases,
    pushes,
    sessions,
    tag_votes,
    users,
)
from refold.projections.projection import Parked, Projection
from refold.tests.contract.query_tables import append, query, register
from refold.tests.infrastructure.checking.conftest import SHA, by_hand, do, recorded_at

KEY = (SHA, "t")


def told(explanation: Explanation) -> list[tuple[Any, ...]]:
    return [
        (each.position, each.actor, each.type, each.what, each.cells) for each in explanation.steps
    ]


# --- events -----------------------------------------------------------------------


def test_each_event_is_told_with_what_it_changed(tagged_store: Store) -> None:
    do(tagged_store, "file.change", sha256=SHA, name="thesis.pdf")
    do(tagged_store, "file.add_tag", sha256=SHA, tag="other")
    do(tagged_store, "file.remove_tag", sha256=SHA, tag="t")
    tagged_store.folder.catch_up()

    row = explain(tagged_store, file_tags, KEY)

    new = {"generation": (None, 1), "baseline": (None, 0), "tag_count": (None, 0)}
    gone = {"generation": (1, None), "baseline": (0, None), "tag_count": (2, None)}
    assert told(row) == [
        (2, "ada", "file.tag_added", "appears", new),
        (3, "ada", "tag_vote.cast", "changes", {"tag_count": (0, 1)}),
        (4, "bo", "tag_vote.cast", "changes", {"tag_count": (1, 2)}),
        (7, "ada", "file.tag_removed", "goes", gone),
    ]
    assert [each.at for each in row.steps] == [recorded_at(tagged_store, n) for n in (2, 3, 4, 7)]
    assert (row.position, row.is_well) == (7, True)


def test_an_event_that_leaves_the_row_as_it_is_is_told_too(memory: Store) -> None:
    register(memory, "one")
    append(memory, "file-one", file.TagAdded("t", 1))
    append(memory, "file-one", file.TagRemoved("t", 1))
    append(memory, "file-one", file.TagAdded("t", 2))
    append(memory, "file-one/tag_vote/t/ada", tag_vote.Cast("t", "ada", 1, 1))  # of another one
    memory.folder.catch_up()

    row = explain(memory, file_tags, ("one", "t"))

    assert [each.what for each in row.steps] == ["appears", "goes", "appears", "stays"]
    assert row.steps[-1].cells == {}
    assert row.is_well


def test_only_the_family_is_read(memory: Store) -> None:
    do(memory, "file.register", sha256=SHA, cid="Qm" + "a" * 44, name="a.pdf")
    memory.folder.catch_up()
    unknown = NewEvent("file.from_the_future", 1, b"{}", b"{}")
    memory.log.append([Command("future", (Write("file-other", 0, (unknown,)),))])

    assert explain(memory, files, (SHA,)).is_well


def test_a_push_is_named_by_its_stream_or_any_of_its_ids(store: Store) -> None:
    do(store, "push.record", document={"id": "old", "url": "u"})
    do(store, "push.rekey", id="old", new_id="new")
    do(store, "push.record", document={"id": "push-old", "url": "other"})  # as a stream is called
    do(store, "push.rekey", id="push-old", new_id="push-new")
    do(store, "push.delete", id="push-old")
    store.folder.catch_up()

    one, other = (
        [explain(store, pushes, (name,)) for name in names]
        for names in (("push-old", "old", "new"), ("push-push-old", "push-new"))
    )

    assert one == [one[0]] * 3
    assert other == [other[0]] * 2
    assert (one[0].key, other[0].key) == (("push-old",), ("push-push-old",))
    assert [each.position for each in one[0].steps] == [1, 2]
    assert [each.position for each in other[0].steps] == [3, 4, 5]
    assert one[0].is_well
    assert other[0].is_well
    alias = explain(store, push_aliases, ("new", "old"))
    assert (alias.key, alias.is_well) == (("push-old", "old"), True)
    by_hand(store, "INSERT INTO {}push_aliases_1 VALUES ('no stream', 'id')")
    unexplained = explain(store, push_aliases, ("no stream", "id")).drifted
    assert unexplained == Drifted(("no stream", "id"), "unexplained", {})
    with pytest.raises(UnknownRow, match="whose stream is nobodys, and no event"):
        explain(store, pushes, ("nobodys",))


def test_events_behind_the_table_are_told_and_not_compared(tagged: Store) -> None:
    do(tagged, "tag_vote.withdraw", sha256=SHA, tag="t", voter="bo")

    row = explain(tagged, file_tags, KEY)

    assert [each.position for each in row.steps] == [2, 3, 4, 5]
    assert (row.position, row.is_well) == (4, True)
    assert query(tagged, "SELECT tag_count FROM {}file_tags") == [(2,)]


def test_a_table_that_was_never_built_is_empty(memory: Store) -> None:
    do(memory, "migration.record", id="m")
    do(memory, "user.register", id="1", profile={"username": "ada"})

    row = explain(memory, users, ("1",))

    assert (row.position, [each.what for each in row.steps], row.is_well) == (0, ["appears"], True)


# --- what no event explains -------------------------------------------------------


def test_a_cell_that_was_changed_by_hand_is_named_with_both_values(tagged_store: Store) -> None:
    by_hand(tagged_store, "UPDATE {}file_tags_1 SET tag_count = 7")

    row = explain(tagged_store, file_tags, KEY)

    assert row.drifted == Drifted(KEY, "changed", {"tag_count": (7, 2)})
    assert not row.is_well
    assert explain(tagged_store, tag_votes, (*KEY, "ada")).is_well


def test_a_row_that_is_missing_is_named(tagged_store: Store) -> None:
    by_hand(tagged_store, "DELETE FROM {}tag_votes_1 WHERE voter = 'ada'")

    row = explain(tagged_store, tag_votes, (*KEY, "ada"))

    assert row.drifted == Drifted(
        (*KEY, "ada"), "missing", {"generation": (None, 1), "stance": (None, 1)}
    )


def test_a_row_that_no_event_made_is_named(tagged_store: Store) -> None:
    by_hand(tagged_store, "INSERT INTO {}tag_votes_1 VALUES ('x', 't', 'eve', 1, 9)")

    row = explain(tagged_store, tag_votes, ("x", "t", "eve"))

    cells = {"generation": (1, None), "stance": (9, None)}
    assert row.drifted == Drifted(("x", "t", "eve"), "unexplained", cells)
    assert row.steps == []


def test_a_key_that_neither_row_nor_event_has_is_refused(tagged: Store) -> None:
    with pytest.raises(UnknownRow) as refusal:
        explain(tagged, file_tags, (SHA, "T"))

    sentence = (
        f"table file_tags has no row whose sha256, tag is {SHA} T, and no event ever touched one"
    )
    assert str(refusal.value) == sentence


@pytest.mark.parametrize("part", ["nul\0", "half \ud800"])
def test_a_key_that_no_row_can_have_is_refused(memory: Store, part: str) -> None:
    tables: tuple[Projection, ...] = (files, media)
    for table in tables:
        with pytest.raises(IllFormedText):
            explain(memory, table, (part,))


def test_a_table_of_another_log_is_refused(memory: Store) -> None:
    do(memory, "migration.record", id="m")
    memory.folder.catch_up()
    by_hand(memory, "UPDATE checkpoints SET position = 3 WHERE projection = 'files'")

    with pytest.raises(LogWentBack):
        explain(memory, files, (SHA,))


# --- secrets and erasures ---------------------------------------------------------


def test_what_is_in_a_session_is_never_told(memory: Store) -> None:
    do(memory, "session.set", sid="s3cret-id", body="s3cret-1", expires_at="2999-01-01T00:00:00Z")
    do(memory, "session.set", sid="s3cret-id", body="s3cret-2", expires_at="2999-01-01T00:00:00Z")
    memory.folder.catch_up()
    [(hash, sealed)] = query(memory, "SELECT hash, sealed FROM {}sessions")
    well = explain(memory, sessions, (hash,))
    by_hand(memory, "UPDATE {}sessions_1 SET sealed = '[]'")

    forged = explain(memory, sessions, (hash,))

    assert [each.cells["sealed"] for each in well.steps] == [
        (None, "(sealed)"),
        ("(sealed)", "(sealed)"),
    ]
    assert well.is_well
    assert forged.drifted == Drifted((hash,), "changed", {"sealed": ("(sealed)", "(sealed)")})
    for said in (json.dumps(each.document()) for each in (well, forged)):
        assert "s3cret" not in said
        assert json.loads(sealed)[2] not in said


def test_who_was_erased_behind_the_table_is_no_difference(memory: Store) -> None:
    do(memory, "user.register", id="1", profile={"username": "ada", "email": "ada@h"})
    memory.folder.catch_up()
    do(memory, "user.erase", id="1")

    row = explain(memory, users, ("1",))

    assert [each.what for each in row.steps] == ["appears", "goes"]
    assert (row.position, row.is_well) == (2, True)
    assert "ada@h" not in json.dumps(row.document())


def test_a_row_that_was_changed_before_an_erasure_is_still_named(memory: Store) -> None:
    do(memory, "user.register", id="1", profile={"username": "ada"})
    do(memory, "user.erase", id="1")
    do(memory, "user.register", id="1", profile={"username": "bo"})
    memory.folder.catch_up()
    by_hand(memory, "UPDATE {}users_1 SET admin = 1")

    row = explain(memory, users, ("1",))

    assert row.drifted == Drifted(("1",), "changed", {"admin": (1, 0)})


# --- parked rows ------------------------------------------------------------------


def test_a_row_that_is_parked_is_not_compared(
    tagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = files.apply

    def apply(key: tuple[str], row: Any, event: Any) -> Any:
        if isinstance(event.value, file.Banned):
            raise ValueError("secret")
        return right(key, row, event)

    monkeypatch.setattr(files, "apply", apply)
    do(tagged, "file.ban", sha256=SHA, code=9)
    do(tagged, "file.change", sha256=SHA, name="later.pdf")
    before = explain(tagged, files, (SHA,))
    tagged.folder.catch_up()

    row = explain(tagged, files, (SHA,))

    assert (before.parked, before.is_well) == (None, True)
    assert isinstance(row.parked, Parked)
    assert row.parked.position == 5
    assert [each.what for each in row.steps] == ["appears", "changes", "parked", "parked"]
    assert (row.drifted, row.is_well) == (None, False)
    assert "secret" not in json.dumps(row.document())


# --- events that cannot be read ---------------------------------------------------


def unread(
    store: Store,
    type: str = "file.from_the_future",
    data: bytes = b"{}",
    stream: str = f"file-{SHA}",
) -> int:
    """Append an event that this refold cannot read."""
    event = NewEvent(type, 1, data, b"{}")
    store.log.append([Command(f"{type} {data!r}", (Write(stream, None, (event,)),))])
    return store.log.heads()[0].position


@pytest.mark.parametrize(
    ("type", "data", "reason"),
    [
        ("file.from_the_future", b"{}", "is not known to this version of refold"),
        ("file.changed", b'{"name":1}', "event 5 of type file.changed cannot be decoded: "),
    ],
)
def test_what_is_before_an_event_that_cannot_be_read_is_told_and_compared(
    tagged_store: Store, type: str, data: bytes, reason: str
) -> None:
    at = unread(tagged_store, type, data)
    append(tagged_store, f"file-{SHA}/tag_vote/t/bo", tag_vote.Withdrawn("t", "bo", 1, 1))
    by_hand(tagged_store, "UPDATE {}files_1 SET ban_set = 7")
    with suppress(Unreadable):
        tagged_store.folder.catch_up()

    row, forged = explain(tagged_store, file_tags, KEY), explain(tagged_store, files, (SHA,))
    other = explain(tagged_store, tag_votes, (*KEY, "bo"))

    assert row.stopped is not None
    assert (row.stopped.position, row.stopped.type) == (at, type)
    assert reason in row.stopped.reason
    assert [each.position for each in row.steps] == [2, 3, 4]
    assert (row.position, row.compared, row.drifted, row.is_well) == (at - 1, True, None, False)
    assert forged.drifted == Drifted((SHA,), "changed", {"ban_set": (7, 0)})
    assert (other.stopped, other.is_well, other.position) == (None, True, at + 1)
    assert row.document()["stopped"] == {
        "position": at,
        "type": type,
        "reason": row.stopped.reason,
    }


def test_a_row_that_only_an_event_that_cannot_be_read_may_have_made_is_not_unknown(
    memory: Store,
) -> None:
    unread(memory)

    row = explain(memory, files, (SHA,))

    assert (row.steps, row.stopped and row.stopped.position, row.is_well) == ([], 1, False)


def test_what_was_folded_from_an_event_that_cannot_be_read_any_more_is_not_compared(
    tagged: Store,
) -> None:
    at = unread(tagged)
    by_hand(tagged, f"UPDATE {{}}checkpoints SET position = {at}, record_hash = NULL")
    by_hand(tagged, "UPDATE {}file_tags_1 SET tag_count = 7")
    last = chain.digest(tagged.log.page(0, at - 1, 1)[0])
    with tagged.tables.writing() as connection:
        connection.exec_driver_sql("UPDATE checkpoints SET record_hash = ?", (last,))

    row = explain(tagged, file_tags, KEY)

    assert [each.position for each in row.steps] == [2, 3, 4]
    assert (row.compared, row.drifted, row.is_well) == (False, None, False)


def test_keys_that_cannot_be_told_stop_an_explanation(
    tagged: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = file_tags.keys

    def keys(event: Event) -> Any:
        if event.recorded.position == 4:
            raise ValueError("secret")
        return right(event)

    monkeypatch.setattr(file_tags, "keys", keys)

    row = explain(tagged, file_tags, KEY)

    assert row.stopped is not None
    assert row.stopped.position == 4
    assert "secret" not in row.stopped.reason
    assert ([each.position for each in row.steps], row.compared) == ([2, 3], False)


def test_who_was_erased_behind_an_event_that_cannot_be_read_is_no_difference(
    memory: Store,
) -> None:
    do(memory, "user.register", id="1", profile={"username": "ada"})
    memory.folder.catch_up()
    by_hand(memory, "UPDATE {}users_1 SET admin = 1")
    stream = memory.log.page(0, 0, 1)[0].stream
    unread(memory, "user.from_the_future", stream=stream)
    before = explain(memory, users, ("1",))
    append(memory, stream, user.Erased("1", (), ()))

    after = explain(memory, users, ("1",))

    assert before.drifted == Drifted(("1",), "changed", {"admin": (1, 0)})
    assert (after.compared, after.drifted) == (False, None)
    assert after.stopped == before.stopped
    assert (after.position, [each.position for each in after.steps]) == (1, [1])
