"""What may happen to an attachment."""

from dataclasses import replace

import pytest

from refold.domain.attachment import (
    LARGEST,
    AlreadyAttached,
    Attached,
    Attachment,
    AttachmentExists,
    Created,
    Deleted,
    DeletedAttachment,
    Event,
    Imported,
    InvalidPixels,
    NotOwnAttachment,
    UnknownAttachment,
    after,
    attach,
    create,
    delete,
    import_row,
)
from refold.domain.errors import Refused
from refold.domain.texts import IllFormedText, NotASha256
from refold.domain.uploads import InvalidId, InvalidMimeType

ID, SHA, AT = "01HVA000000000000000000001", "2c" * 32, "2026-04-15T14:17:00.000Z"
CREATED = Created(ID, "general", "ada", "a.png", {"content": SHA}, 5, "image/png", 2, None, AT)
IMPORTED = Imported(ID, "general", "ada", "a.png", {"content": SHA}, 5, "image/png", 2, None, AT)


# --- creating ---------------------------------------------------------------------------


@pytest.mark.parametrize("pixels", [0, 1, LARGEST, None])
def test_an_attachment_is_created_with_what_is_known_of_its_size(pixels: int | None) -> None:
    new = replace(CREATED, width=pixels, height=pixels)

    assert create(Attachment(), new) == [new]


@pytest.mark.parametrize("before", [[CREATED], [IMPORTED], [CREATED, Deleted(AT)]], ids=repr)
def test_an_id_is_used_once(before: list[Event]) -> None:
    with pytest.raises(AttachmentExists, match=f"attachment {ID} exists already"):
        create(after(*before), CREATED)


ODD: list[tuple[dict[str, object], type[Refused]]] = [
    ({"id": ""}, IllFormedText),
    ({"id": "🙂" * 65}, InvalidId),
    ({"channel": "a\0"}, IllFormedText),
    ({"uploader": "\ud800"}, IllFormedText),
    ({"blobs": {"content": "ab"}}, NotASha256),
    ({"mime_type": "png"}, InvalidMimeType),
    ({"created_at": ""}, IllFormedText),
]


@pytest.mark.parametrize(
    ("odd", "refusal"),
    [
        *ODD,
        ({"filename": "a\r\n.png"}, IllFormedText),
        ({"width": -1}, InvalidPixels),
        ({"height": LARGEST + 1}, InvalidPixels),
    ],
    ids=repr,
)
def test_what_no_attachment_can_have_is_refused(
    odd: dict[str, object], refusal: type[Refused]
) -> None:
    with pytest.raises(refusal):
        create(Attachment(), replace(CREATED, **odd))  # type: ignore[arg-type]


# --- attaching --------------------------------------------------------------------------


@pytest.mark.parametrize("first", [CREATED, IMPORTED])
def test_an_own_one_is_attached(first: Event) -> None:
    assert attach(after(first), ID, "m1", "ada") == [Attached("m1")]


def test_one_that_is_not_known_is_not_attached() -> None:
    with pytest.raises(UnknownAttachment, match=f"attachment {ID} not found"):
        attach(Attachment(), ID, "m1", "ada")


def test_one_that_another_uploaded_is_not_attached() -> None:
    with pytest.raises(NotOwnAttachment, match="by another than bo"):
        attach(after(CREATED), ID, "m1", "bo")


@pytest.mark.parametrize("message", ["m1", "m2"])
@pytest.mark.parametrize(
    "before", [[CREATED, Attached("m1")], [replace(IMPORTED, message="m1")]], ids=repr
)
def test_nothing_is_attached_twice(before: list[Event], message: str) -> None:
    with pytest.raises(AlreadyAttached, match="attached to message m1"):
        attach(after(*before), ID, message, "ada")


@pytest.mark.parametrize(
    "before", [[CREATED, Deleted(AT)], [replace(IMPORTED, deleted_at=AT)]], ids=repr
)
def test_a_deleted_one_is_not_attached(before: list[Event]) -> None:
    with pytest.raises(DeletedAttachment, match="was deleted"):
        attach(after(*before), ID, "m1", "ada")


@pytest.mark.parametrize("message", ["", "a\0", "x" * 257])
def test_what_can_be_no_message_shows_nothing(message: str) -> None:
    with pytest.raises(IllFormedText):
        attach(after(CREATED), ID, message, "ada")


# --- deleting ---------------------------------------------------------------------------


def test_one_is_deleted_once_and_an_unknown_one_without_a_word() -> None:
    assert delete(after(CREATED, Attached("m1")), AT) == [Deleted(AT)]
    assert delete(after(CREATED, Deleted(AT)), AT) == []
    assert delete(after(replace(IMPORTED, deleted_at=AT)), AT) == []
    assert delete(Attachment(), AT) == []


# --- taking over ------------------------------------------------------------------------


def test_a_legacy_row_is_taken_over_once_with_any_name_of_a_file() -> None:
    odd = replace(IMPORTED, filename="\0\n", message="m1", deleted_at="then")

    assert import_row(Attachment(), odd) == [odd]
    assert import_row(after(odd), odd) == []


def test_a_legacy_row_that_comes_again_brings_what_happened_to_it_since() -> None:
    later = replace(IMPORTED, message="m1", deleted_at=AT)

    assert import_row(after(IMPORTED), later) == [Attached("m1"), Deleted(AT)]
    assert import_row(after(IMPORTED, Attached("m1")), later) == [Deleted(AT)]


def test_a_legacy_row_that_comes_again_undoes_nothing() -> None:
    assert import_row(after(IMPORTED, Attached("m1"), Deleted(AT)), IMPORTED) == []
    assert import_row(after(CREATED, Attached("m1")), replace(IMPORTED, message="m2")) == []


@pytest.mark.parametrize(("odd", "refusal"), [*ODD, ({"message": "\0"}, IllFormedText)], ids=repr)
def test_a_legacy_row_that_no_table_could_hold_is_refused(
    odd: dict[str, object], refusal: type[Refused]
) -> None:
    with pytest.raises(refusal):
        import_row(Attachment(), replace(IMPORTED, **odd))  # type: ignore[arg-type]
