"""What may happen to media."""

from dataclasses import replace

import pytest

from refold.domain import streams
from refold.domain.errors import Refused
from refold.domain.media import (
    Deleted,
    Event,
    Imported,
    Media,
    MediaIdTaken,
    Moved,
    Stored,
    StoredAgain,
    UnknownMedia,
    Withdrawn,
    after,
    delete,
    import_row,
    move,
    store,
    withdraw,
)
from refold.domain.texts import IllFormedText, NotASha256
from refold.domain.uploads import InvalidId, InvalidMimeType, check_id, id_of

ID, SHA, OTHER = "01HVM000000000000000000001", "2c" * 32, "3d" * 32
AT = "2026-04-15T14:17:00.000Z"
STORED = Stored(ID, {"content": SHA}, "image/png", 5, "ada", AT)
IMPORTED = Imported(ID, {"content": SHA}, "image/png", 5, "ada", AT)
BOS = StoredAgain({"content": SHA}, "bo", "2026-04-18T08:00:00Z")


# --- state ------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [STORED, IMPORTED])
def test_media_have_the_content_that_was_uploaded_first(first: Event) -> None:
    assert after(first) == Media(True, False, SHA, has_content=True, uploaders=("ada",))


def test_a_duplicate_of_a_legacy_store_has_its_content_from_another() -> None:
    duplicate = after(replace(IMPORTED, duplicate_of="01HVM000000000000000000000"))

    assert duplicate == Media(True, False, SHA, has_content=False, uploaders=("ada",))


def test_of_deleted_media_only_that_is_left() -> None:
    assert after(STORED, BOS, Deleted()) == Media(deleted=True)


def test_who_uploaded_the_same_content_has_a_part_in_it_until_that_is_taken_back() -> None:
    assert after(STORED, BOS).uploaders == ("ada", "bo")
    assert after(STORED, BOS, Withdrawn("ada")).uploaders == ("bo",)
    assert after(STORED, BOS, Withdrawn("ada"), Withdrawn("bo")).uploaders == ()


# --- storing ----------------------------------------------------------------------------


def test_a_new_content_is_stored() -> None:
    assert store(Media(), STORED) == [STORED]


@pytest.mark.parametrize("first", [STORED, IMPORTED])
def test_of_the_same_content_again_only_another_uploader_is_news(first: Event) -> None:
    again = replace(STORED, id="another", mime_type="text/html", uploaded_at=BOS.uploaded_at)
    bos = replace(again, uploader="bo")

    assert store(after(first), again) == []
    assert store(after(first), bos) == [BOS]
    assert store(after(first, BOS), bos) == store(after(first, BOS), again) == []
    assert store(after(first, BOS, Withdrawn("bo")), bos) == [BOS]


def test_an_id_is_not_used_for_another_content() -> None:
    with pytest.raises(MediaIdTaken, match=f"{ID} has another content, {SHA}"):
        store(after(STORED), replace(STORED, blobs={"content": OTHER}))


@pytest.mark.parametrize("sha256", [SHA, OTHER])
def test_the_id_of_deleted_media_is_not_used_again(sha256: str) -> None:
    with pytest.raises(MediaIdTaken, match="was deleted"):
        store(after(STORED, Deleted()), replace(STORED, blobs={"content": sha256}))


@pytest.mark.parametrize(
    ("odd", "refusal"),
    [
        ({"id": ""}, IllFormedText),
        ({"id": "a\0"}, IllFormedText),
        ({"id": "\ud800"}, IllFormedText),
        ({"id": "é" * 129}, InvalidId),
        ({"blobs": {"content": SHA.upper()}}, NotASha256),
        ({"blobs": {"content": f"{SHA}\n"}}, NotASha256),
        ({"mime_type": ""}, InvalidMimeType),
        ({"mime_type": "png"}, InvalidMimeType),
        ({"mime_type": "image/png\r\nSet-Cookie: x=1"}, InvalidMimeType),
        ({"mime_type": "image/é"}, InvalidMimeType),
        ({"mime_type": "image/png;" + "x" * 250}, InvalidMimeType),
        ({"uploader": ""}, IllFormedText),
        ({"uploaded_at": "\0"}, IllFormedText),
        ({"bucket": "\0"}, IllFormedText),
        ({"s3_key": ""}, IllFormedText),
    ],
    ids=repr,
)
def test_what_no_upload_can_have_is_refused(odd: dict[str, object], refusal: type[Refused]) -> None:
    with pytest.raises(refusal):
        store(Media(), replace(STORED, **odd))  # type: ignore[arg-type]
    with pytest.raises(refusal):
        import_row(Media(), replace(IMPORTED, **odd))  # type: ignore[arg-type]


@pytest.mark.parametrize("mime_type", ["text/html; charset=utf-8", "video/webm;codecs=vp8,opus"])
def test_a_type_may_have_parameters(mime_type: str) -> None:
    new = replace(STORED, mime_type=mime_type)

    assert store(Media(), new) == [new]


@pytest.mark.parametrize("id", [ID, "a/b", "a%2Fb", "~a", "a-b", "é%", "x" * 256])
def test_an_id_can_be_read_off_the_name_of_its_stream(id: str) -> None:
    check_id("media id", id)

    assert id_of(streams.name("media", id)) == id


# --- moving, deleting -------------------------------------------------------------------


def test_media_move_into_a_bucket_and_back_to_disk() -> None:
    there, back = Moved("uploads", f"media/{SHA}"), Moved(None, None)

    assert move(after(STORED), ID, "uploads", f"media/{SHA}") == [there]
    assert move(after(STORED, there), ID, "uploads", f"media/{SHA}") == []
    assert move(after(STORED, there), ID, None, None) == [back]
    assert move(after(STORED, there, back), ID, None, None) == []


def test_media_that_are_not_there_do_not_move() -> None:
    for gone in (Media(), after(STORED, Deleted())):
        with pytest.raises(UnknownMedia, match=f"media {ID} not found"):
            move(gone, ID, "uploads", "key")


def test_media_are_deleted_once_and_unknown_ones_without_a_word() -> None:
    assert delete(after(STORED)) == [Deleted()]
    assert delete(after(STORED, Deleted())) == []
    assert delete(Media()) == []


def test_who_takes_back_an_upload_leaves_it_to_others_and_the_last_one_deletes_it() -> None:
    both = after(STORED, BOS)

    assert withdraw(both, {"ada", "cy"}, content_is_needed=False) == [Withdrawn("ada")]
    assert withdraw(both, {"cy"}, content_is_needed=False) == []
    assert withdraw(both, {"bo", "ada"}, content_is_needed=False) == [Deleted()]
    assert withdraw(after(STORED), {"ada"}, content_is_needed=True) == [Withdrawn("ada")]
    nobodys = after(STORED, Withdrawn("ada"))
    assert withdraw(nobodys, (), content_is_needed=True) == []
    assert withdraw(nobodys, (), content_is_needed=False) == [Deleted()]
    assert withdraw(Media(), {"ada"}, content_is_needed=False) == []


# --- taking over ------------------------------------------------------------------------


def test_a_legacy_row_is_taken_over_once() -> None:
    assert import_row(Media(), IMPORTED) == [IMPORTED]
    assert import_row(after(IMPORTED), IMPORTED) == []


def test_a_legacy_row_that_was_deleted_since_does_not_come_back() -> None:
    assert import_row(after(IMPORTED, Deleted()), IMPORTED) == []


def test_a_legacy_row_with_an_id_of_another_content_is_refused() -> None:
    with pytest.raises(MediaIdTaken):
        import_row(after(STORED), replace(IMPORTED, blobs={"content": OTHER}))
