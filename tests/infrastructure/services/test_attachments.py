"""Attachments end to end: created, attached all or none, listed, and refused by name."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from threading import Barrier
from typing import Any

import pytest

from refold.domain import attachment, streams, times
from refold.domain.attachment import (
    AlreadyAttached,
    AttachmentExists,
    DeletedAttachment,
    InvalidPixels,
    NotOwnAttachment,
    UnknownAttachment,
)
from refold.domain.errors import BadInput, CommandIdTaken, NoSuchBlob, Refused, TooLarge, WrongHash
from refold.domain.ports import Appended, Command, Outcome, Write
from refold.domain.texts import IllFormedText
from refold.domain.uploads import InvalidId
from refold.infrastructure import commands
from refold.infrastructure.appending.group_commit import GroupCommit
from refold.infrastructure.commands import Done
from refold.infrastructure.services import media
from refold.infrastructure.services.attachments import (
    Attachment,
    attach_all,
    create,
    list_of_message,
    show,
)
from refold.infrastructure.store import Store

HELLO = b"hello"
HASH = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
NUMBERS = count()


# --- creating -------------------------------------------------------------------------


def test_what_was_created_is_shown(store: Store) -> None:
    made = upload(store, "01A", width=640, height=480)

    assert made == Attachment(
        "01A", None, "general", "ada", "a.png", HASH, 5, "image/png", 640, 480,
        created_at=made.created_at, deleted_at=None,
    )  # fmt: skip
    assert abs(times.micros(made.created_at) - store.log.page(0, 0, 1)[0].recorded_at) < 60e6
    assert show(store, "01A") == made
    assert b"".join(store.blobs.get(made.content_hash)) == HELLO


def test_the_same_bytes_are_kept_once_for_attachments_and_media(store: Store) -> None:
    upload(store, "01A")
    upload(store, "01B")
    media.put(store, [HELLO], id="01M", mime_type="image/png", uploader="ada")

    assert [blob.sha256 for blob in store.blobs.list()] == [HASH]
    assert show(store, "01A") != show(store, "01B")


def test_asked_for_again_with_its_command_id_it_is_created_once(store: Store) -> None:
    first = upload(store, "01A", command_id="one")

    assert upload(store, "01A", command_id="one") == first
    with pytest.raises(AttachmentExists, match="attachment 01A exists already"):
        upload(store, "01A")
    run(store, "attachment.delete", id="01A")
    with pytest.raises(AttachmentExists):
        upload(store, "01A")
    assert show(store, "01A") is None


@pytest.mark.parametrize(
    ("odd", "refusal"),
    [
        ({"id": ""}, IllFormedText),
        ({"id": "a\0"}, IllFormedText),
        ({"id": "🙂" * 65}, InvalidId),
        ({"channel": "\ud800"}, IllFormedText),
        ({"filename": "x" * 257}, IllFormedText),
        ({"width": 2**63}, InvalidPixels),
        ({"height": -1}, InvalidPixels),
        ({"width": 1.5}, BadInput),
        ({"expected": "0" * 64}, WrongHash),
        ({"cap": 4}, TooLarge),
    ],
    ids=repr,
)
def test_what_no_attachment_can_have_is_refused_by_name(
    store: Store, odd: dict[str, Any], refusal: type[Refused]
) -> None:
    with pytest.raises(refusal):
        upload(store, **({"id": "01A"} | odd))

    assert store.log.heads()[0].position == 0


def test_an_attachment_without_bytes_is_not_recorded(store: Store) -> None:
    with pytest.raises(NoSuchBlob, match=HASH):
        run(store, "attachment.create", **CREATE)

    assert show(store, "01A") is None


CREATE = {
    "id": "01A", "channel": "general", "uploader": "ada", "filename": "a.png",
    "content_hash": HASH, "mime_type": "image/png",
}  # fmt: skip


# --- attaching ------------------------------------------------------------------------


def test_two_are_attached_together(store: Store) -> None:
    ones = [upload(store, id) for id in ("01A", "01B")]

    done = attach(store, ["01A", "01B"], "m1")

    assert (done.outcome, done.stream, done.version) == ("appended", "attachment-01B", 2)
    assert done.position == store.log.heads()[0].position == 4
    shown = [one._replace(message="m1") for one in ones]
    assert list_of_message(store, "m1", after=done.at) == shown
    assert [show(store, "01A"), show(store, "01B")] == shown
    assert list_of_message(store, "m2") == []


def test_one_that_another_uploaded_is_not_attached(store: Store) -> None:
    upload(store, "01A")

    with pytest.raises(NotOwnAttachment, match="attachment 01A was uploaded by another than bo"):
        attach(store, ["01A"], "m1", uploader="bo")
    with pytest.raises(NotOwnAttachment):
        run(store, "attachment.attach", id="01A", message="m1", uploader="bo")

    assert list_of_message(store, "m1") == []


@pytest.mark.parametrize("message", ["m1", "m2"])
def test_nothing_is_attached_twice(store: Store, message: str) -> None:
    upload(store, "01A")
    run(store, "attachment.attach", id="01A", message="m1", uploader="ada")

    with pytest.raises(AlreadyAttached, match="attachment 01A is attached to message m1"):
        attach(store, ["01A"], message)

    assert [each.attachment_id for each in list_of_message(store, "m1")] == ["01A"]


@pytest.mark.parametrize("odd", ["unknown", "another's", "attached", "deleted"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_when_one_of_three_is_refused_the_others_stay_unattached(
    store: Store, odd: str, place: int
) -> None:
    refusals = {
        "unknown": UnknownAttachment,
        "another's": NotOwnAttachment,
        "attached": AlreadyAttached,
        "deleted": DeletedAttachment,
    }
    ids = ["01A", "01B"]
    for id in ids:
        upload(store, id)
    if odd != "unknown":
        upload(store, "01C", uploader="bo" if odd == "another's" else "ada")
    if odd == "attached":
        attach(store, ["01C"], "m1")
    if odd == "deleted":
        run(store, "attachment.delete", id="01C")
    before = store.log.heads()

    with pytest.raises(refusals[odd], match="attachment 01C"):
        attach(store, [*ids[:place], "01C", *ids[place:]], "m2")

    assert store.log.heads() == before
    assert list_of_message(store, "m2") == []
    assert attach(store, ids, "m2").outcome == "appended"


def test_asked_for_again_with_its_command_id_all_are_attached_once(store: Store) -> None:
    for id in ("01A", "01B"):
        upload(store, id)
    first = attach(store, ["01A", "01B"], "m1", command_id="one")
    run(store, "attachment.delete", id="01B")

    again = attach(store, ["01A", "01B"], "m1", command_id="one")

    assert again == Done("duplicate", first.stream, first.version, first.position)
    assert [each.attachment_id for each in list_of_message(store, "m1")] == ["01A"]


def test_a_command_id_that_was_used_elsewhere_attaches_nothing(store: Store) -> None:
    for id in ("01A", "01B"):
        upload(store, id)
    attach(store, ["01A"], "m1", command_id="one")

    with pytest.raises(CommandIdTaken, match="already used on attachment-01A"):
        attach(store, ["01B"], "m1", command_id="one")

    assert [each.attachment_id for each in list_of_message(store, "m1")] == ["01A"]


def test_an_id_that_is_named_twice_is_attached_once_and_no_id_is_no_news(store: Store) -> None:
    upload(store, "01A")

    assert attach(store, [], "m1") == Done("unchanged", "", 0, 0)
    assert attach(store, ["01A", "01A"], "m1").version == 2


def test_of_messages_racing_for_the_same_attachments_each_gets_all_or_none(store: Store) -> None:
    rounds = [[f"{n:02}{each}" for each in "ABC"] for n in range(8)]
    for ids in rounds:
        for id in ids:
            upload(store, id)
    line_up = Barrier(3, timeout=30)

    def race(thread: int) -> list[str]:
        won = []
        for n, ids in enumerate(rounds):
            line_up.wait()
            try:
                attach(store, ids[thread:] + ids[:thread], f"m{thread}")
                won.append(f"{n} m{thread}")
            except AlreadyAttached:
                continue
        return won

    with ThreadPoolExecutor(3) as pool:
        won = sorted(each for winner in pool.map(race, range(3)) for each in winner)

    assert [each.split()[0] for each in won] == [str(n) for n in range(8)]
    for each, ids in zip(won, rounds, strict=True):
        found = [show(store, id) for id in ids]
        assert [one and one.message for one in found] == [each.split()[1]] * 3


def test_who_was_slower_decides_again(store: Store) -> None:
    for id in ("01A", "01B"):
        upload(store, id)
    slower = replace(store, commits=Slower(store, lambda: attach(store, ["01B"], "m1")))

    with pytest.raises(AlreadyAttached, match="attachment 01B is attached to message m1"):
        attach(slower, ["01A", "01B"], "m2")

    assert list_of_message(store, "m2") == []
    assert [each.attachment_id for each in list_of_message(store, "m1")] == ["01B"]


class Slower(GroupCommit):
    """Appends as it should, but once something else happens just before."""

    def __init__(self, store: Store, before: Callable[[], object]) -> None:
        super().__init__(store.log)
        self.before = [before]

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        while self.before:
            self.before.pop()()
        return super().append(commands)


# --- deleting, asking -----------------------------------------------------------------


def test_deleted_ones_are_hidden(store: Store) -> None:
    for id in ("01A", "01B"):
        upload(store, id)
    attach(store, ["01A", "01B"], "m1")

    run(store, "attachment.delete", id="01A")
    run(store, "attachment.delete", id="01A")
    run(store, "attachment.delete", id="unknown")

    assert show(store, "01A") is None
    assert [each.attachment_id for each in list_of_message(store, "m1")] == ["01B"]


def test_attachments_of_a_message_come_by_instant_then_by_id(store: Store) -> None:
    store.blobs.put([HELLO])
    created = {
        "late": "2026-04-15T14:15:53.124Z",
        "b": "2026-04-15T14:15:53.123Z",
        "B": "2026-04-15T16:15:53.123000000+02:00",
        "é": "2026-04-15T14:15:53.123+00:00",
        "early": "2026-04-15T15:15:52+01:00",
        "nano": "2026-04-15T14:15:53.123000001Z",
    }
    for id, at in created.items():
        run(store, "attachment.create", **(CREATE | {"id": id, "created_at": at}))
    import_row(store, "odd", created_at="yesterday")
    for id in sorted(created, reverse=True):  # that rows lie in another order
        attach(store, [id], "m1")
        list_of_message(store, "m1")

    listed = list_of_message(store, "m1")

    assert [each.attachment_id for each in listed] == [
        *("early", "B", "b", "é", "nano", "late", "odd")
    ]
    assert [each.created_at for each in listed][1] == created["B"]


def import_row(store: Store, id: str, created_at: str) -> None:
    row = attachment.Imported(
        id, "general", "ada", "nul\0", {"content": HASH}, 5, "a/b", None, None, created_at, "m1"
    )
    [event] = attachment.import_row(attachment.Attachment(), row)
    write = Write(streams.name("attachment", id), 0, (store.codec.encode(event, b"{}"),))
    [outcome] = store.log.append([Command(f"import {id}", (write,))])
    assert isinstance(outcome, Appended)


def test_unknown_ids_give_null_and_malformed_ones_a_named_refusal(store: Store) -> None:
    upload(store, "01A")

    for id in ("01B", "01a", "", "%", "../01A", "é" * 5_000):
        assert show(store, id) is None
        assert list_of_message(store, id) == []
    for id in ("01A\0", "\ud800"):
        with pytest.raises(IllFormedText):
            show(store, id)
        with pytest.raises(IllFormedText):
            list_of_message(store, id)
        with pytest.raises(IllFormedText):
            attach(store, ["01A", id], "m1")
        with pytest.raises(IllFormedText):
            attach(store, ["01A"], id)
        with pytest.raises(IllFormedText):
            attach(store, ["01A"], "m1", command_id=id)
    with pytest.raises(UnknownAttachment):
        attach(store, ["01A", "01B"], "m1")


# --- what the tests ask with ----------------------------------------------------------


def run(store: Store, name: str, /, **fields: object) -> Done:
    return commands.run(store, name, fields, command_id=f"{next(NUMBERS)}", actor="ada")


def upload(store: Store, id: str, **fields: Any) -> Attachment:
    given: dict[str, Any] = {
        "channel": "general", "uploader": "ada", "filename": "a.png", "mime_type": "image/png",
    }  # fmt: skip
    made = create(store, [HELLO], id=id, **(given | fields))
    assert made
    return made


def attach(
    store: Store,
    ids: list[str],
    message: str,
    uploader: str = "ada",
    command_id: str | None = None,
) -> Done:
    command_id = command_id or f"{next(NUMBERS)}"
    return attach_all(store, ids, message, uploader, command_id=command_id, actor=uploader)
