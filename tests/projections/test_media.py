"""The tables of media and attachments: by every way the same rows, and the rows what is shown."""

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import attachment, media, streams
from refold.domain.errors import Refused
from refold.domain.ports import Event, Recorded
from refold.infrastructure import commands
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.media import CONTENT_OF
from refold.infrastructure.services.attachments import attach_all, list_of_message, show
from refold.infrastructure.services.media import find_media, show_media
from refold.infrastructure.store import Store
from refold.projections import attachments
from refold.projections import media as media_table
from refold.projections.projection import Key, Projection, Row
from refold.tests.projections.folds import asked, rows, rows_by_family

pytestmark = pytest.mark.usefixtures("small_pages")

BOTH: tuple[Projection, ...] = (media_table, attachments)
CONTENTS = [b"one", b"two"]


# --- the same rows by every way ---------------------------------------------------

ID = st.sampled_from(["01A", "01A", "01B", "~c/%"])
HASH = st.sampled_from([sha256(content).hexdigest() for content in CONTENTS])
PERSON = st.sampled_from(["ada", "bo"])
MESSAGE = st.sampled_from(["m1", "m2"])
TYPE = st.sampled_from(["image/png", "text/plain; charset=utf-8"])
TIME = st.sampled_from(["2026-04-15T14:17:00.000Z", "2026-04-15T14:17:00+02:00"])
PIXELS = st.none() | st.integers(0, 9)


STEPS = st.one_of(
    asked("media.store", id=ID, content_hash=HASH, mime_type=TYPE, uploader=PERSON),
    asked("media.store", id=ID, content_hash=HASH, mime_type=TYPE, uploader=PERSON),
    asked("media.move", id=ID),
    asked("media.delete", id=ID),
    asked(
        "attachment.create",
        id=ID,
        channel=st.just("general"),
        uploader=PERSON,
        filename=st.sampled_from(["a.png", "Étude n°5.PDF"]),
        content_hash=HASH,
        mime_type=TYPE,
        width=PIXELS,
        height=PIXELS,
        created_at=TIME,
    ),
    asked("attachment.attach", id=ID, message=MESSAGE, uploader=PERSON),
    asked("attachment.delete", id=ID),
    st.tuples(st.just("attach"), st.tuples(st.lists(ID, max_size=3), MESSAGE, PERSON)),
    st.tuples(st.just("fold"), st.none()),
)


@given(st.lists(STEPS, min_size=5, max_size=30))
def test_tables_a_rebuild_and_folds_by_family_say_the_same(steps: list[tuple[str, Any]]) -> None:
    with open_store("memory:") as store:
        for content in CONTENTS:
            store.blobs.put([content])
        take(store, steps)
        store.folder.catch_up()
        live = rows(store, BOTH)

        rebuilt = store.rebuilder.rebuild(BOTH)

        assert rows(store, BOTH) == live == rows_by_family(store, BOTH)
        assert all(each.is_equal for each in rebuilt)
        assert_rows_are_what_is_shown(store, live)
        assert_one_id_has_each_content(store, live)


def take(store: Store, steps: list[tuple[str, Any]]) -> None:
    numbers = count()
    for name, data in steps:
        command_id = f"{next(numbers)}"
        with suppress(Refused):  # it may be unknown, another's, gone
            if name == "fold":
                store.folder.catch_up()
            elif name == "attach":
                attach_all(store, *data, command_id=command_id, actor="ada")
            else:
                commands.run(store, name, data, command_id=command_id, actor="ada")


def assert_rows_are_what_is_shown(store: Store, live: dict[str, dict[Key, Row]]) -> None:
    for (id,), row in live["media"].items():
        assert show_media(store, id) == row
    for (id,), row in live["attachments"].items():
        found = attachments.Row._make(row)
        listed = list_of_message(store, found.message or "none")
        if found.deleted_at:
            assert show(store, id) is None
            assert id not in [each.attachment_id for each in listed]
        else:
            assert show(store, id) == row
            assert (row in listed) == (found.message is not None)


def assert_one_id_has_each_content(store: Store, live: dict[str, dict[Key, Row]]) -> None:
    having = {row[1]: id for (id,), row in live["media"].items()}

    assert len(having) == len(live["media"])
    assert {(kind, value, stream) for kind, value, stream in store.log.claims()[1]} == {
        (CONTENT_OF, content, streams.name("media", id)) for content, id in having.items()
    }
    for content in CONTENTS:
        content_hash = sha256(content).hexdigest()
        found = find_media(store, content_hash)
        assert (found and found.media_id) == having.get(content_hash)


# --- what a row says --------------------------------------------------------------

SHA, AT = "2c" * 32, "2026-04-15T14:17:00.000Z"


def test_a_row_of_media_is_the_record_of_the_upload() -> None:
    imported = media.Imported("~a/%", {"content": SHA}, "a/b", 5, "ada", AT, "bucket", "key")

    row = folded(media_table, "media", imported)
    moved = folded(media_table, "media", imported, media.Moved(None, None))
    bos = media.StoredAgain({"content": SHA}, "bo", AT)
    left = folded(media_table, "media", imported, bos, media.Withdrawn("ada"))

    assert row == ("~a/%", SHA, "key", "bucket", 5, "a/b", "ada", AT)
    assert moved == ("~a/%", SHA, None, None, 5, "a/b", "ada", AT)
    assert folded(media_table, "media", imported, bos, media.Withdrawn("bo")) == row
    assert left == ("~a/%", SHA, "key", "bucket", 5, "a/b", "", AT)
    assert folded(media_table, "media", imported, media.Deleted()) is None


def test_a_row_of_an_attachment_says_what_became_of_it() -> None:
    imported = attachment.Imported(
        "~a/%", "c", "ada", "nul\0", {"content": SHA}, 5, "a/b", 1, None, AT, "m1"
    )
    deleted = replace(imported, deleted_at="half \ud800")
    created = attachment.Created("~a/%", "c", "ada", "a", {"content": SHA}, 5, "a/b", 1, 2, AT)
    attached = attachment.Attached("m2")

    rows = [
        folded(attachments, "attachment", *events)
        for events in (
            (imported,),
            (deleted,),
            (created, attached),
            (created, attached, attachment.Deleted(AT)),
        )
    ]

    nul, half = "nul\u2400", "half \ufffd"
    assert rows == [
        ("~a/%", "m1", "c", "ada", nul, SHA, 5, "a/b", 1, None, AT, None),
        ("~a/%", "m1", "c", "", "", SHA, 5, "a/b", 1, None, AT, half),
        ("~a/%", "m2", "c", "ada", "a", SHA, 5, "a/b", 1, 2, AT, None),
        ("~a/%", "m2", "c", "", "", SHA, 5, "a/b", 1, 2, AT, AT),
    ]


def folded(projection: Projection, kind: str, *values: media.Event | attachment.Event) -> Any:
    row = None
    for position, value in enumerate(values, 1):
        stream = streams.name(kind, "~a/%")
        event = Event(Recorded(0, position, stream, position, "", 1, b"", b"", 0, "", 0), value)
        [key] = projection.keys(event)
        row = projection.apply(key, row, event)
    return row
