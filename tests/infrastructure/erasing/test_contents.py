"""Contents that go with who is erased: which ones, when, and at copies; and which ones stay."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final

import pytest

from refold.domain.errors import NoPlaceForBlobs
from refold.infrastructure import config
from refold.infrastructure.checking import doctor
from refold.infrastructure.commands import carry_out, run
from refold.infrastructure.erasing import person
from refold.infrastructure.erasing.certificate import Finding
from refold.infrastructure.erasing.erasing import erase
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.users import ForgetUser
from refold.infrastructure.services import attachments, media
from refold.infrastructure.services.users import show_user
from refold.infrastructure.store import Store

NUMBERS: Final = count()
HERS: Final = b"only of ada"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens new stores on SQLite, each with a place for blobs of its own."""
    with ExitStack() as cleanup:

        def new() -> Store:
            url = f"sqlite:///{tmp_path}/store{next(NUMBERS)}.db"
            return cleanup.enter_context(open_store(url, create=True))

        yield new


@pytest.fixture
def store(opened: Callable[[], Store]) -> Store:
    """A store with Ada and Bo."""
    store = opened()
    for id, name in (("1", "ada.lovelace"), ("2", "bo")):
        do(store, "user.register", id=id, profile={"username": name})
    return store


# --- what others need -------------------------------------------------------------------


def test_what_somebody_uploads_while_it_is_looked_who_needs_it_is_kept(
    store: Store, opened: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    hers, look = upload(store, HERS, "1"), person.used_by_others

    def slowly(at: Store, *arguments: Any) -> set[str]:
        found = look(at, *arguments)
        if not store.log.stream("attachment-late"):
            upload(store, HERS, "2", id="late")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(person, "used_by_others", slowly)
        made = erase(store, person.find_by_id(store, "1"), actor="dpo")

    assert (made.blobs_removed, made.blobs_kept) == (0, 1)
    assert store.blobs.head(hers)
    assert verify(store).blobs.count == 1
    target = opened()
    assert copy(store, target).equal
    assert target.blobs.head(hers)
    do(store, "user.register", id="3", profile={"username": "cy"})
    upload(store, HERS, "3")
    assert erase(store, person.find_by_id(store, "3"), actor="dpo").blobs_removed == 0
    store.blobs.delete(hers)
    assert verify(store).blobs.missing == (hers,)
    address = store.address.public
    settings = config.read(address, None)
    examined = doctor.examine(settings.address(), settings)
    assert [f"there is no blob {hers}" in each.what for each in examined.findings] == [True]


@pytest.mark.parametrize(("first", "second"), [("1", "2"), ("2", "1")])
def test_what_two_have_put_goes_with_the_second_of_them(
    store: Store, first: str, second: str
) -> None:
    kept, again = put(store, "1"), put(store, "bo")
    assert again == kept

    one = erase(store, person.find_by_id(store, first), actor="dpo")

    assert (one.clean, one.uploads, one.blobs_removed, one.blobs_kept) == (True, 0, 0, 1)
    assert shown(store, kept) == kept._replace(uploaded_by="" if first == "1" else "1")
    assert b"".join(store.blobs.get(kept.content_hash)) == HERS
    other = erase(store, person.find_by_id(store, second), actor="dpo")
    assert (other.clean, other.uploads, other.blobs_removed, other.blobs_kept) == (True, 1, 1, 0)
    assert shown(store, kept) is None
    assert store.blobs.head(kept.content_hash) is None
    assert verify(store).ok
    for id in "1", "2":
        repeated = erase(store, person.find_by_id(store, id), actor="dpo")
        assert (repeated.clean, repeated.uploads, repeated.blobs_removed) == (True, 0, 0)


def test_media_that_were_left_for_an_attachment_of_another_go_with_that(store: Store) -> None:
    kept = put(store, "ada.lovelace")
    upload(store, HERS, "2", id="bos")
    assert erase(store, person.find(store, "ada.lovelace"), actor="dpo").blobs_kept == 1
    assert shown(store, kept) == kept._replace(uploaded_by="")

    made = erase(store, person.find(store, "bo"), actor="dpo")

    assert (made.clean, made.uploads, made.blobs_removed) == (True, 2, 1)
    assert (shown(store, kept), attachments.show(store, "bos")) == (None, None)


def test_what_somebody_puts_before_it_is_taken_back_is_theirs(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, look, looks = put(store, "1"), person.used_by_others, count(1)

    def slowly(at: Store, *arguments: Any) -> set[str]:
        found = look(at, *arguments)
        if next(looks) == 2:  # which uploads are to stay
            put(store, "2")
        return found

    monkeypatch.setattr(person, "used_by_others", slowly)

    made = erase(store, person.find_by_id(store, "1"), actor="dpo")

    assert (made.clean, made.uploads, made.blobs_removed, made.blobs_kept) == (True, 0, 0, 1)
    assert shown(store, kept) == kept._replace(uploaded_by="")
    assert store.blobs.head(kept.content_hash)


def test_without_a_place_for_their_contents_nobody_is_erased(store: Store) -> None:
    upload(store, HERS, "1")
    nowhere = replace(store, place_for_blobs=None)

    with pytest.raises(NoPlaceForBlobs):
        erase(nowhere, person.find_by_id(nowhere, "1"), actor="dpo")

    assert (show_user(store, "1") or {})["username"] == "ada.lovelace"


def test_a_content_that_is_not_in_the_place_is_left(
    store: Store, opened: Callable[[], Store]
) -> None:
    hers = upload(store, HERS, "1")
    elsewhere = replace(store, place_for_blobs=opened().place_for_blobs)

    made = erase(elsewhere, person.find_by_id(elsewhere, "1"), actor="dpo")
    again = erase(store, person.find_by_id(store, "1"), actor="dpo")

    assert (made.clean, made.blobs_removed) == (False, 0)
    assert made.found == [Finding("content", "blobs", "sha256", (hers,))]
    assert (again.clean, again.blobs_removed) == (True, 1)


def test_uploads_of_an_erasure_that_was_broken_off_go_when_it_is_asked_for_by_id(
    store: Store,
) -> None:
    hers, shared = upload(store, HERS, "ada.lovelace", id="h"), upload(store, b"x", "ada.lovelace")
    old = media.put(store, [b"x"], id="m", mime_type="a/b", uploader="ada.lovelace")
    forget(store, "1", hers, shared)
    upload(store, b"x", "2", id="bos")

    made = erase(store, person.find_by_id(store, "1"), actor="dpo")

    assert (made.again, made.uploads, made.blobs_removed, made.blobs_kept) == (True, 2, 1, 1)
    assert attachments.show(store, "h") is None
    assert attachments.show(store, "bos")
    assert shown(store, old) == old._replace(uploaded_by="")
    assert verify(store).ok
    assert erase(store, person.find_by_id(store, "1"), actor="dpo").uploads == 0


def test_who_uploaded_attachments_under_their_name_is_erased_whole(store: Store) -> None:
    upload(store, HERS, "ada.lovelace")
    store.folder.catch_up()

    made = erase(store, person.find(store, "ada.lovelace"), actor="dpo")

    assert (made.uploads, made.blobs_removed, made.found) == (1, 1, [])


# --- at copies --------------------------------------------------------------------------


def test_a_copy_that_is_refused_removes_nothing(store: Store, opened: Callable[[], Store]) -> None:
    target, hers = opened(), upload(store, HERS, "1")
    assert copy(store, target).equal
    do(target, "user.register", id="3", profile={"username": "cy"})
    assert erase(store, person.find_by_id(store, "1"), actor="dpo").blobs_removed == 1

    refused = copy(store, target)

    assert refused.differences[0].startswith("the logs differ")
    assert target.blobs.head(hers)


def test_a_copy_removes_contents_before_the_erasure_itself_got_there(
    store: Store, opened: Callable[[], Store]
) -> None:
    target, hers = opened(), upload(store, HERS, "1")
    assert copy(store, target).equal
    forget(store, "1", hers)

    assert copy(store, target).equal

    assert store.blobs.head(hers)
    assert target.blobs.head(hers) is None
    upload(store, HERS, "2")
    assert copy(store, target).equal
    assert target.blobs.head(hers)


def test_a_copy_keeps_contents_that_an_event_needs_which_it_does_not_carry(
    store: Store, opened: Callable[[], Store]
) -> None:
    target, hers = opened(), upload(store, HERS, "1")
    assert copy(store, target).equal
    forget(store, "1", hers)

    def progress(what: str, *_: object) -> None:
        if what == "copy" and not store.log.stream("attachment-late"):
            upload(store, HERS, "2", id="late")

    assert copy(store, target, progress).equal

    assert target.blobs.head(hers)


# --- given ------------------------------------------------------------------------------


def do(store: Store, name: str, /, **fields: Any) -> None:
    run(store, name, fields, command_id=f"c{next(NUMBERS)}", actor="refold")


def put(store: Store, uploader: str) -> media.Media:
    """Keep HERS among the media of somebody."""
    return media.put(store, [HERS], id=f"m{next(NUMBERS)}", mime_type="a/b", uploader=uploader)


def shown(store: Store, kept: media.Media) -> media.Media | None:
    return media.show_media(store, kept.media_id)


def upload(store: Store, content: bytes, uploader: str, *, id: str | None = None) -> str:
    """Keep a content as somebody's attachment, and return its SHA-256."""
    kept = attachments.create(
        store,
        [content],
        id=id or f"a{next(NUMBERS)}",
        channel="c",
        uploader=uploader,
        filename="f",
        mime_type="a/b",
    )
    assert kept
    return kept.content_hash


def forget(store: Store, id: str, *contents: str) -> None:
    """Do what an erasure does first, and nothing behind it."""
    request = ForgetUser(id, contents, store.advance.head().stored)
    carry_out(store, request, command_id=f"c{next(NUMBERS)}", actor="dpo")
