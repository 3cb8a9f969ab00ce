"""decentcom's stores on every engine: what its own tests ask of storage, and each of its traps."""

import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from threading import Barrier
from time import sleep, time_ns
from typing import Any
from uuid import uuid4

import pytest

from refold.domain import times
from refold.domain.errors import BadInput, BlobDiffers, NoSuchBlob, WrongHash
from refold.domain.texts import IllFormedText
from refold.infrastructure import commands
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import compare
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.infrastructure.systems.decentcom import (
    Attachment,
    AttachmentStore,
    Conflict,
    DeviceKeyStore,
    MediaStore,
    NotFound,
    Session,
    SessionStore,
    User,
    UserStore,
    WrongSize,
)
from refold.projections import catalog

HELLO = b"hello"
HASH = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
ADA, BO = "7Xq2base58", "8Yr3base58"
DAY = timedelta(days=1)
ULID = r"[0-7][0-9A-HJKMNP-TV-Z]{25}"
ODD_IDS = ["", "01HV", "nul\0", "half \ud800", "x" * 9_000, "a/b%-~"]


pytestmark = pytest.mark.usefixtures("vault_key")


@pytest.fixture
def people(store: Store) -> None:
    """Those whose sessions, media and attachments the tests make."""
    for id in ("ada", "bo", "cy", "di", "01HV"):
        run(store, "user.register", id=id, profile={})


# --- users ----------------------------------------------------------------------------


def test_a_user_is_created_found_changed_and_listed(store: Store) -> None:
    users = UserStore(store)
    ada = users.create(ADA, "Ada")
    bo = users.create(BO)
    assert ada == User(ada.id, ADA, "Ada", None, False, ada.created_at, ada.created_at)
    assert abs(times.micros(ada.created_at) - time_ns() // 1_000) < 60e6
    assert users.get_by_id(ada.id) == users.get_by_pubkey(ADA) == ada
    assert users.list() == [ada, bo]

    changed = users.update(bo.id, display_name="Bo", avatar_hash=HASH)

    expected = replace(bo, display_name="Bo", avatar_hash=HASH, updated_at=changed.updated_at)
    assert changed == expected == users.get_by_id(bo.id)
    assert times.instant(changed.updated_at) > times.instant(bo.updated_at)
    assert users.list() == [ada, changed]


def test_a_bot_says_so(store: Store) -> None:
    users = UserStore(store)
    bot, person = users.create(ADA, is_bot=True), users.create(BO)

    assert [each.is_bot for each in (bot, person)] == [True, False]
    assert users.list() == [bot, person]


def test_a_pubkey_that_somebody_has_is_a_conflict_and_nothing_is_kept(store: Store) -> None:
    users = UserStore(store)
    ada = users.create(ADA, "Ada")

    with pytest.raises(Conflict, match=f"^a user with pubkey {ADA} exists already$"):
        users.create(ADA, "Another")

    assert users.list() == [ada]


def test_an_update_leaves_what_it_does_not_name(store: Store) -> None:
    users = UserStore(store)
    id = users.create(ADA, "Ada").id
    before = users.update(id, avatar_hash=HASH)

    touched = users.update(id)
    cleared = users.clear_avatar_hash(id)

    assert replace(touched, updated_at=before.updated_at) == before
    assert times.instant(touched.updated_at) > times.instant(before.updated_at)
    assert replace(cleared, updated_at=before.updated_at) == replace(before, avatar_hash=None)


def test_who_is_not_there_is_not_found_by_any_id(store: Store) -> None:
    users = UserStore(store)
    users.create(ADA)

    for id in ODD_IDS:
        assert users.get_by_id(id) is None
        assert users.get_by_pubkey(id) is None
        with pytest.raises(NotFound, match="not found"):
            users.update(id, display_name="x")
        with pytest.raises(NotFound, match="not found"):
            users.clear_avatar_hash(id)
    assert store.log.heads()[0].position == 1


def test_pubkeys_are_texts_with_their_case_and_leading_ones(store: Store) -> None:
    users = UserStore(store)
    pubkeys = [f"111{ADA}", f"11{ADA}", ADA.swapcase(), ADA]

    made = [users.create(pubkey) for pubkey in pubkeys]

    assert [user.pubkey for user in users.list()] == pubkeys
    assert [users.get_by_pubkey(pubkey) for pubkey in pubkeys] == made
    with pytest.raises(IllFormedText):
        users.create("")


def test_users_of_other_systems_are_none_of_decentcoms(store: Store) -> None:
    users = UserStore(store)
    ada = users.create(ADA)
    run(store, "user.register", id="1", profile={"username": "bo"})
    keys = {"1": "ssh-ed25519 AAAA", ada.id: "ssh-ed25519 BBBB"}
    for id, key in keys.items():
        run(store, "user.add_key", id=id, record={"key": key})

    assert users.list() == [ada]
    assert users.get_by_id("1") is None
    assert [users.get_by_pubkey(key) for key in keys.values()] == [None, None]


def test_listings_go_by_instants_and_not_by_texts_and_ties_by_ids(store: Store) -> None:
    created = {
        "01E": "2026-04-15T14:15:53.123456789+00:00",
        "01D": "2026-04-15T14:15:53.123Z",
        "01C": "2026-04-15T16:15:53.123+02:00",
        "01B": "2026-04-15 14:15:53",
        "01A": "2026-04-16T00:00:00+12:00",
        "01F": "2026-04-15T00:00:00Z",
    }
    for id, at in created.items():
        profile = {"pubkey": id, "createdAt": at, "updatedAt": at}
        run(store, "user.register", id=id, profile=profile)

    listed = UserStore(store).list()

    assert [user.id for user in listed] == ["01F", "01A", "01B", "01C", "01D", "01E"]
    assert {user.id: user.created_at for user in listed} == created


def test_ids_are_ulids_in_the_order_they_were_made(store: Store) -> None:
    made = [UserStore(store).create(f"key {number}").id for number in range(20)]

    assert made == sorted(set(made))
    for id in made:
        assert_ulid(id)


# --- sessions -------------------------------------------------------------------------


@pytest.mark.usefixtures("people")
def test_a_session_is_created_and_got_and_expires_in_the_future(store: Store) -> None:
    sessions = SessionStore(store)

    token = sessions.create("01HV", DAY)

    found = sessions.get(token)
    assert found is not None
    assert found == Session("01HV", found.created_at, found.expires_at, False)
    assert times.instant(found.expires_at) - times.instant(found.created_at) == 86_400 * 10**9
    assert times.micros(found.expires_at) > time_ns() // 1_000
    assert_ulid(token)
    assert sessions.get(token[:-1]) is sessions.get("") is sessions.get("\ud800") is None


@pytest.mark.usefixtures("people")
def test_a_session_may_be_read_only(store: Store) -> None:
    sessions = SessionStore(store)
    tokens = [sessions.create("01HV", DAY, read_only=flag) for flag in (True, False)]

    found = [sessions.get(token) for token in tokens]

    assert [session and session.is_read_only for session in found] == [True, False]


@pytest.mark.usefixtures("people")
def test_only_expired_sessions_are_deleted_as_expired(store: Store) -> None:
    sessions = SessionStore(store)
    live = sessions.create("01HV", DAY)
    over = [sessions.create("01HV", -DAY) for _ in range(3)]

    assert sessions.delete_expired() == 3
    assert sessions.delete_expired() == 0

    assert sessions.get(live)
    for token in over:
        with pytest.raises(NotFound):
            sessions.delete(token)


@pytest.mark.usefixtures("people")
def test_a_session_whose_time_is_over_is_never_returned(store: Store) -> None:
    sessions = SessionStore(store)
    over, soon = sessions.create("01HV", -DAY), sessions.create("01HV", timedelta(seconds=0.3))
    assert sessions.get(over) is None
    assert sessions.get(soon)

    sleep(0.31)

    assert sessions.get(soon) is None
    assert sessions.delete_expired() == 2


@pytest.mark.usefixtures("people")
def test_a_deleted_session_is_gone_and_cannot_be_deleted_again(store: Store) -> None:
    sessions = SessionStore(store)
    token, other, expired = (sessions.create("01HV", each) for each in (DAY, DAY, -DAY))

    sessions.delete(token)
    sessions.delete(expired)

    assert sessions.get(token) is None
    assert sessions.get(other)
    for gone in (token, expired, "01HV", "nul\0"):
        with pytest.raises(NotFound, match=r"^session not found$"):
            sessions.delete(gone)


@pytest.mark.usefixtures("people")
def test_a_session_that_never_ends_is_refused_by_name(store: Store) -> None:
    with pytest.raises(BadInput, match="a session cannot last for"):
        SessionStore(store).create("01HV", timedelta.max)


def test_sessions_of_other_systems_are_none_of_decentcoms(store: Store) -> None:
    web = {"body": '{"cookie":{}}', "expires_at": "2990-01-01T00:00:00Z"}
    run(store, "session.set", sid="web", user="ada", **web)
    run(store, "session.set", sid="nobody's", **web)

    assert SessionStore(store).get("web") is None
    assert SessionStore(store).get("nobody's") is None


@pytest.mark.usefixtures("people")
def test_tokens_are_kept_nowhere(store: Store, tmp_path: Path) -> None:
    sessions = SessionStore(store)
    tokens = [sessions.create("01HV", each) for each in (DAY, DAY, -DAY)]
    found = sessions.get(tokens[0])
    sessions.delete(tokens[1])
    sessions.delete_expired()

    kept = [repr(found), *map(repr, store.log.page(0, 0, 99)), *map(str, rows(store, "sessions"))]
    kept += [str(each.read_bytes()) for each in tmp_path.rglob("*") if each.is_file()]

    everything = "".join(kept)
    assert sha256(tokens[0].encode()).hexdigest() in everything
    assert [token for token in tokens if token in everything] == []


# --- media ----------------------------------------------------------------------------


@pytest.mark.usefixtures("people")
def test_what_is_put_twice_has_its_first_id_type_and_uploader(store: Store) -> None:
    media = MediaStore(store)

    id = media.put(HASH, "text/plain", 5, "ada", HELLO)

    assert media.put(HASH, "image/png", 5, "bo", HELLO) == id
    assert_ulid(id)
    assert media.get(id) == HELLO
    assert media.get_by_content_hash(HASH) == ("text/plain", HELLO)
    assert media.get_by_content_hash("ab" * 32) is None
    assert [row[0] for row in rows(store, "media")] == [id]
    assert [blob.sha256 for blob in store.blobs.list()] == [HASH]


def test_media_that_are_not_there_are_none_and_deleting_them_is_no_error(store: Store) -> None:
    media = MediaStore(store)

    for id in ODD_IDS:
        assert media.get(id) is None
        assert media.get_by_content_hash(id) is None
        media.delete(id)
    assert store.log.heads()[0].position == 0


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("hash", "size", "why"), [("ab" * 32, 5, WrongHash), (HASH, 4, WrongSize), (HASH, 6, WrongSize)]
)
def test_other_bytes_than_was_said_are_refused_and_not_kept(
    store: Store, hash: str, size: int, why: type[Exception]
) -> None:
    media, before = MediaStore(store), store.log.heads()

    with pytest.raises(why):
        media.put(hash, "text/plain", size, "ada", HELLO)

    assert media.get_by_content_hash(HASH) is None
    assert list(store.blobs.list()) == []
    assert store.log.heads() == before


@pytest.mark.usefixtures("people")
def test_of_many_who_put_one_content_at_once_all_get_one_id(store: Store) -> None:
    media, line_up = MediaStore(store), Barrier(4, timeout=30)
    contents = [f"content {number}".encode() for number in range(10)]

    def race(uploader: str) -> list[str]:
        ids = []
        for data in contents:
            line_up.wait()
            hash = sha256(data).hexdigest()
            ids.append(media.put(hash, "text/plain", len(data), uploader, data))
        return ids

    with ThreadPoolExecutor(line_up.parties) as pool:
        first, *others = pool.map(race, ("ada", "bo", "cy", "di"))

    assert others == [first] * 3
    assert sorted(row[0] for row in rows(store, "media")) == sorted(first)


@pytest.mark.usefixtures("people")
def test_lost_and_damaged_bytes_are_errors_with_their_hash(store: Store, tmp_path: Path) -> None:
    media = MediaStore(store)
    id = media.put(HASH, "text/plain", 5, "ada", HELLO)
    file = tmp_path / "blobs" / HASH[:2] / HASH

    if file.exists():  # a store in memory has its bytes there
        file.write_bytes(b"hellO")
        for get in (lambda: media.get(id), lambda: media.get_by_content_hash(HASH)):
            with pytest.raises(BlobDiffers, match=HASH):
                get()
    store.blobs.delete(HASH)
    for get in (lambda: media.get(id), lambda: media.get_by_content_hash(HASH)):
        with pytest.raises(NoSuchBlob, match=HASH):
            get()


@pytest.mark.usefixtures("people")
def test_deleted_media_leave_their_bytes_to_the_attachments_that_have_them(store: Store) -> None:
    media, attachments = MediaStore(store), AttachmentStore(store)
    id = media.put(HASH, "text/plain", 5, "ada", HELLO)
    attached = upload(attachments)

    media.delete(id)

    assert media.get(id) is None
    assert media.get_by_content_hash(HASH) is None
    assert attachments.get(attached.id) == attached
    assert b"".join(store.blobs.get(HASH)) == HELLO
    again = media.put(HASH, "text/plain", 5, "ada", HELLO)
    assert again != id
    assert media.get(again) == HELLO


# --- attachments ----------------------------------------------------------------------


@pytest.fixture
def attachments(store: Store, people: None) -> AttachmentStore:
    """Attachments, with the bytes that they need."""
    MediaStore(store).put(HASH, "text/plain", 5, "ada", HELLO)
    return AttachmentStore(store)


def test_an_attachment_is_created_and_got(attachments: AttachmentStore) -> None:
    made = attachments.create("general", "ada", "a.png", HASH, 5, "image/png", 640, 480)

    assert made == Attachment(
        made.id, None, "general", "ada", "a.png", HASH, 5, "image/png", 640, 480,
        created_at=made.created_at, deleted_at=None,
    )  # fmt: skip
    assert_ulid(made.id)
    assert attachments.get(made.id) == made
    assert [attachments.get(id) for id in ODD_IDS] == [None] * len(ODD_IDS)


def test_two_attachments_are_associated_with_a_message(attachments: AttachmentStore) -> None:
    made = [upload(attachments) for _ in range(3)]

    attachments.associate([made[1].id, made[0].id], "m1", "ada")

    shown = [replace(each, message_id="m1") for each in made[:2]]
    assert attachments.list_by_message("m1") == shown
    assert [attachments.get(each.id) for each in made] == [*shown, made[2]]
    attachments.associate([], "m2", "ada")
    assert attachments.list_by_message("m2") == []


def test_an_attachment_of_another_is_a_conflict(attachments: AttachmentStore) -> None:
    id = upload(attachments).id

    with pytest.raises(Conflict, match="uploaded by another than bo"):
        attachments.associate([id], "m1", "bo")

    assert attachments.list_by_message("m1") == []


def test_an_attachment_is_associated_once(attachments: AttachmentStore) -> None:
    id = upload(attachments).id
    attachments.associate([id], "m1", "ada", command_id="one")

    attachments.associate([id], "m1", "ada", command_id="one")
    for message in ("m1", "m2"):
        with pytest.raises(Conflict, match="is attached to message m1"):
            attachments.associate([id], message, "ada")

    assert [each.id for each in attachments.list_by_message("m1")] == [id]
    assert attachments.list_by_message("m2") == []


@pytest.mark.parametrize("bad", ["another's", "attached", "deleted", "unknown"])
def test_when_the_third_cannot_be_associated_no_other_is(
    attachments: AttachmentStore, bad: str
) -> None:
    good = [upload(attachments).id for _ in range(2)]
    third = upload(attachments, "bo" if bad == "another's" else "ada").id
    match bad:
        case "attached":
            attachments.associate([third], "m0", "ada")
        case "deleted":
            attachments.delete(third)
        case "unknown":
            third = "01HV"

    with pytest.raises(Conflict, match=third):
        attachments.associate([*good, third], "m1", "ada")

    assert attachments.list_by_message("m1") == []
    assert [each and each.message_id for each in map(attachments.get, good)] == [None, None]
    attachments.associate(good, "m1", "ada")
    assert [each.id for each in attachments.list_by_message("m1")] == good


def test_a_deleted_attachment_is_hidden(attachments: AttachmentStore) -> None:
    made = [upload(attachments).id for _ in range(2)]
    attachments.associate(made, "m1", "ada")

    for _ in range(2):
        attachments.delete(made[0])

    assert attachments.get(made[0]) is None
    assert [each.id for each in attachments.list_by_message("m1")] == made[1:]
    for id in ODD_IDS:
        attachments.delete(id)


def test_an_attachment_needs_bytes_that_were_put(attachments: AttachmentStore) -> None:
    with pytest.raises(NoSuchBlob, match="ab" * 32):
        attachments.create("general", "ada", "a.txt", "ab" * 32, 5, "text/plain")
    with pytest.raises(WrongSize, match=f"content {HASH} has 5 bytes, not 6"):
        attachments.create("general", "ada", "a.txt", HASH, 6, "text/plain")


# --- device keys ----------------------------------------------------------------------


def test_devices_are_added_and_listed_the_oldest_first(store: Store) -> None:
    devices, user_id = DeviceKeyStore(store), UserStore(store).create(ADA).id
    issued = "2026-04-09T18:06:40+01:00"

    made = [devices.add(user_id, f"1{n}", "x", name, issued) for n, name in ((3, "a"), (1, None))]

    assert devices.list(user_id) == made
    assert [(each.pubkey, each.device_name) for each in made] == [("13", "a"), ("11", None)]
    assert {each.issued_at for each in made} == {issued}
    assert [devices.list(id) for id in ODD_IDS] == [[]] * len(ODD_IDS)


def test_a_device_key_that_any_device_has_is_a_conflict(store: Store) -> None:
    devices = DeviceKeyStore(store)
    ada, bo = (UserStore(store).create(pubkey).id for pubkey in (ADA, BO))
    made = devices.add(ada, "9Zz", "x", "phone", "2026-04-09T18:06:40Z")

    for user_id in (ada, bo):
        with pytest.raises(Conflict, match=r"^another device has this pubkey already$"):
            devices.add(user_id, "9Zz", "y", None, "2026-04-09T18:06:40Z")

    assert devices.list(ada) == [made]
    assert devices.list(bo) == []


def test_a_device_needs_a_user(store: Store) -> None:
    with pytest.raises(NotFound, match="user '01HV' not found"):
        DeviceKeyStore(store).add("01HV", "9Zz", "x", None, "2026-04-09T18:06:40Z")


# --- those that all of them are of ----------------------------------------------------


@pytest.mark.parametrize("id", [*ODD_IDS, "gone", "erased"])
def test_what_is_nobodys_is_not_kept(store: Store, id: str) -> None:
    for name, verb in (("gone", "user.delete"), ("erased", "user.erase")):
        run(store, "user.register", id=name, profile={"username": name})
        run(store, verb, id=name)
    other = b"other"
    store.blobs.put([other])
    before, kept = store.log.heads(), list(store.blobs.list())
    attached = ("general", id, "a.txt", sha256(other).hexdigest(), 5, "text/plain")

    for create in (
        lambda: SessionStore(store).create(id, DAY),
        lambda: MediaStore(store).put(HASH, "text/plain", 5, id, HELLO),
        lambda: AttachmentStore(store).create(*attached),
        lambda: DeviceKeyStore(store).add(id, "9Zz", "x", None, "2026-04-09T18:06:40Z"),
    ):
        with pytest.raises(NotFound, match=re.escape(f"user {id!r} not found")):
            create()

    assert store.log.heads() == before
    assert list(store.blobs.list()) == kept


# --- from engine to engine ------------------------------------------------------------


def test_there_and_back_again_nothing_is_another(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as opened:

        def place(url: str, blobs: str) -> Store:
            monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / blobs))
            return opened.enter_context(open_store(url, create=True))

        first = place(f"sqlite:///{tmp_path}/first.db", "1")
        token = filled(first)
        before = seen(first, token)
        middle = place(postgres_url, "2")
        last = place(f"sqlite:///{tmp_path}/last.db", "3")
        # each SQLite store makes a key of its own unless one is given: see `vault_key`

        assert copy(first, middle).equal
        assert copy(middle, last).equal

        assert seen(middle, token) == seen(last, token) == before
        assert compare(first, last).equal
        assert [rows(first, each.NAME) for each in catalog.ALL] == [
            rows(last, each.NAME) for each in catalog.ALL
        ]


def filled(store: Store) -> str:
    """Put something into each of the stores, and return the token of a session."""
    ada = UserStore(store).create(f"11{ADA}", "Ada")
    DeviceKeyStore(store).add(ada.id, "9Zz", "x", None, "2026-04-09T18:06:40+05:30")
    MediaStore(store).put(HASH, "text/plain", 5, ada.id, HELLO)
    made = [upload(AttachmentStore(store), ada.id).id for _ in range(3)]
    AttachmentStore(store).associate(made, "m1", ada.id)
    return SessionStore(store).create(ada.id, DAY, read_only=True)


def seen(store: Store, token: str) -> list[object]:
    """Return what each of the stores answers."""
    users = UserStore(store).list()
    assert len(users) == 1
    return [
        users,
        DeviceKeyStore(store).list(users[0].id),
        MediaStore(store).get_by_content_hash(HASH),
        AttachmentStore(store).list_by_message("m1"),
        SessionStore(store).get(token),
    ]


# --- what the tests say things with ---------------------------------------------------


def run(store: Store, name: str, **data: Any) -> None:
    commands.run(store, name, data, command_id=uuid4().hex, actor="tests")


def upload(attachments: AttachmentStore, uploader: str = "ada") -> Attachment:
    name = f"{secrets.token_hex(4)}.txt"
    return attachments.create("general", uploader, name, HASH, 5, "text/plain")


def rows(store: Store, projection: str) -> list[Any]:
    """Return the rows of a query table, folded up to now, by key."""
    store.folder.catch_up()
    with store.tables.reading() as connection:
        generation = store.tables.current(connection)[projection]
        return list(store.tables.rows.scan(connection, generation))


def assert_ulid(text: str) -> None:
    assert re.fullmatch(ULID, text)
