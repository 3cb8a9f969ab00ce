"""Media end to end: put once, found, served and moved, and refused by name."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from itertools import count, repeat
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
import urllib3

from refold.domain import media, streams, times
from refold.domain.errors import (
    BadInput,
    BlobDiffers,
    NoSuchBlob,
    Refused,
    TooLarge,
    WrongHash,
)
from refold.domain.ports import Appended, Claim, Command, Write
from refold.domain.texts import IllFormedText, NotASha256
from refold.domain.uploads import InvalidId, InvalidMimeType
from refold.infrastructure import commands
from refold.infrastructure.blobs.contents import InBucket
from refold.infrastructure.blobs.s3 import S3Blobs
from refold.infrastructure.commands import Done
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.media import claims
from refold.infrastructure.services import attachments
from refold.infrastructure.services.media import (
    Media,
    find_media,
    open_media,
    put,
    redirect,
    show_media,
)
from refold.infrastructure.store import Store
from refold.infrastructure.systems.decentcom import MediaStore
from refold.infrastructure.ulids import new_ulid
from refold.projections import media as table
from refold.tests.s3_server import S3Server

HELLO, HASH = b"hello", sha256(b"hello").hexdigest()
NUMBERS = count()
Open = Callable[[str], Store]


@pytest.fixture
def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Makes an empty store of an engine, each with a folder of blobs of its own."""
    with ExitStack() as cleanup:

        def new(engine: str) -> Store:
            name = secrets.token_hex(4)
            monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / f"{name}-blobs"))
            url = f"sqlite:///{tmp_path}/{name}" if engine == "sqlite" else "memory:"
            if engine == "postgres":
                url = request.getfixturevalue("postgres_url")
            return cleanup.enter_context(open_store(url, create=True))

        yield new


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, opened: Open) -> Store:
    """An empty store, one of each engine."""
    return opened(str(request.param))


@pytest.fixture
def memory(opened: Open) -> Store:
    """An empty store in memory."""
    return opened("memory")


# --- one content, one id --------------------------------------------------------------


def test_what_was_put_comes_back_by_id_and_by_content(store: Store) -> None:
    kept = put(store, [b"he", b"llo"], id="01A", mime_type="image/png", uploader="ada")

    assert kept == Media(
        "01A", HASH, None, None, 5, "image/png", "ada", uploaded_at=kept.uploaded_at
    )
    assert abs(times.micros(kept.uploaded_at) - store.log.page(0, 0, 1)[0].recorded_at) < 60e6
    assert show_media(store, "01A") == find_media(store, HASH) == kept
    assert read(store, "01A") == (kept, HELLO)
    assert rows(store) == [kept]


def test_a_content_that_is_put_twice_has_the_first_id_and_type_and_uploader(store: Store) -> None:
    first = hello(store, "01A")

    again = put(store, [HELLO], id="01B", mime_type="text/html", uploader="bo")

    assert again == first
    assert put(store, [HELLO], id="01C", mime_type="text/html", uploader="bo") == first
    assert show_media(store, "01B") is None
    assert store.log.heads()[0].position == 2
    assert rows(store) == [first]
    assert [blob.sha256 for blob in store.blobs.list()] == [HASH]


def test_two_threads_that_put_the_same_content_end_with_one_id(store: Store) -> None:
    contents = [f"content {n}".encode() for n in range(12)]
    line_up = Barrier(2, timeout=30)

    def upload(thread: str) -> list[Media]:
        return [
            put(
                store,
                in_step(content),
                id=f"{thread}{n}",
                mime_type="text/plain",
                uploader=thread,
            )
            for n, content in enumerate(contents)
        ]

    def in_step(content: bytes) -> Iterator[bytes]:
        yield content
        line_up.wait()

    with ThreadPoolExecutor(2) as pool:
        ones, others = pool.map(upload, ["a", "b"])

    assert ones == others
    assert [each.content_hash for each in ones] == [sha256(each).hexdigest() for each in contents]
    assert rows(store) == sorted(ones)


def test_the_same_upload_again_is_safe(store: Store) -> None:
    assert hello(store, "01A") == hello(store, "01A")
    assert store.log.heads()[0].position == 1


def test_an_id_that_has_another_content_is_refused(store: Store) -> None:
    hello(store, "01A")

    with pytest.raises(media.MediaIdTaken, match="media 01A has another content"):
        put(store, [b"other"], id="01A", mime_type="image/png", uploader="ada")

    assert read(store, "01A")[1] == HELLO


def test_the_time_of_an_upload_may_be_given(memory: Store) -> None:
    memory.blobs.put([HELLO])

    run(memory, "media.store", **STORE, uploaded_at="2026-04-15T14:17:00.000+02:00")

    assert rows(memory)[0].uploaded_at == "2026-04-15T14:17:00.000+02:00"
    with pytest.raises(times.NotATime):
        run(memory, "media.store", **STORE, uploaded_at="yesterday")


STORE = {"id": "01A", "content_hash": HASH, "mime_type": "image/png", "uploader": "ada"}


# --- what is refused ------------------------------------------------------------------


def test_bytes_that_do_not_match_their_hash_are_refused_and_named(store: Store) -> None:
    with pytest.raises(WrongHash) as refusal:
        put(store, [b"other"], id="01A", mime_type="image/png", uploader="ada", expected=HASH)

    assert (refusal.value.expected, refusal.value.actual) == (HASH, sha256(b"other").hexdigest())
    assert_nothing_is_kept(store)


def test_an_upload_above_the_cap_is_refused_while_it_streams(store: Store) -> None:
    chunks = repeat(b"x" * 1_000, 10_000)

    with pytest.raises(TooLarge, match="larger than 4999 bytes"):
        put(store, chunks, id="01A", mime_type="image/png", uploader="ada", cap=4_999)

    assert sum(1 for _ in chunks) == 10_000 - 5  # that were not read
    assert_nothing_is_kept(store)
    assert put(
        store, [b"x" * 4_999], id="01A", mime_type="image/png", uploader="ada", cap=4_999
    ).size_bytes == (4_999)


@pytest.mark.parametrize("most", [4_999, 999_999])
def test_no_upload_is_larger_than_the_store_takes_however_it_comes(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setenv("REFOLD_MEDIA_UPLOAD_BYTES", str(most))
    chunks = repeat(b"x" * 1_000, 10_000)
    content = b"y" * (most + 1)
    name = sha256(content).hexdigest()
    attached = {"channel": "c", "uploader": "ada", "filename": "a", "mime_type": "a/b"}
    with open_store("memory:") as store:
        run(store, "user.register", id="ada", profile={})
        kept = {"content_hash": name, "mime_type": "a/b", "uploader": "ada"}
        ways: list[Callable[[], object]] = [
            lambda: put(store, chunks, id="1", mime_type="a/b", uploader="ada", cap=1 << 30),
            lambda: attachments.create(store, [content], id="1", **attached),  # type: ignore[arg-type]
            lambda: MediaStore(store).put(name, "a/b", len(content), "ada", content),
            lambda: run(store, "media.store", id="1", **kept),
            lambda: run(store, "attachment.create", id="1", content_hash=name, **attached),
        ]
        for number, way in enumerate(ways):
            if number == 3:  # such as by a presigned address
                store.blobs.put([content])
            with pytest.raises(TooLarge, match=f"larger than {most} bytes"):
                way()

        assert sum(1 for _ in chunks) == 10_000 - most // 1_000 - 1  # that were not read
        assert store.log.heads()[0].position == 1  # ada
        assert put(store, [content[1:]], id="1", mime_type="a/b", uploader="ada").size_bytes == most


def test_unknown_ids_and_contents_give_null(store: Store) -> None:
    hello(store, "01A")

    for id in ("01B", "01a", "", " 01A", "01A\n", "%", "../01A", "é" * 5_000):
        assert show_media(store, id) is None
        assert open_media(store, id) is None
        assert redirect(store, id).status == 404
    assert find_media(store, "0" * 64) is None


@pytest.mark.parametrize("id", ["01A\0", "\ud800"])
def test_malformed_ids_are_refused_by_name(store: Store, id: str) -> None:
    for question in (show_media, open_media, redirect):
        with pytest.raises(IllFormedText):
            question(store, id)
    with pytest.raises(IllFormedText):
        put(store, [HELLO], id=id, mime_type="image/png", uploader="ada")
    with pytest.raises(IllFormedText):
        run(store, "media.delete", id=id)


@pytest.mark.parametrize("content_hash", ["", "0" * 63, HASH.upper(), f"{HASH}\n", "\0" * 64])
def test_a_malformed_hash_is_refused_by_name(store: Store, content_hash: str) -> None:
    with pytest.raises(NotASha256):
        find_media(store, content_hash)
    with pytest.raises(NotASha256):
        run(store, "media.store", **(STORE | {"content_hash": content_hash}))


@pytest.mark.parametrize(
    ("odd", "refusal"),
    [
        ({"id": "🙂" * 65}, InvalidId),
        ({"mime_type": "image/png\r\nX: y"}, InvalidMimeType),
        ({"uploader": "\0"}, IllFormedText),
        ({"uploader": 7}, BadInput),
    ],
    ids=repr,
)
def test_what_no_upload_can_have_is_refused_by_name(
    memory: Store, odd: dict[str, Any], refusal: type[Refused]
) -> None:
    with pytest.raises(refusal):
        put(memory, [HELLO], **(UPLOAD | odd))

    assert rows(memory) == []


UPLOAD: dict[str, Any] = {"id": "01A", "mime_type": "a/b", "uploader": "ada"}


def test_media_without_bytes_are_not_recorded(store: Store) -> None:
    with pytest.raises(NoSuchBlob, match=HASH):
        run(store, "media.store", **STORE)

    assert rows(store) == []


# --- every row has its bytes ----------------------------------------------------------


def test_every_row_has_the_bytes_that_it_names(store: Store) -> None:
    for n in range(5):
        content = bytes(n) * 300_000
        put(store, [content], id=new_ulid(), mime_type="a/b", uploader="ada")

    for row in rows(store):
        content = read(store, row.media_id)[1]
        assert (sha256(content).hexdigest(), len(content)) == (row.content_hash, row.size_bytes)
    report = verify(store)
    assert (report.ok, report.blobs.count) == (True, 5)


def test_a_row_whose_bytes_are_missing_is_reported(store: Store) -> None:
    kept = hello(store, "01A")
    store.blobs.delete(HASH)

    for question in (open_media, redirect):
        with pytest.raises(NoSuchBlob, match=HASH):
            question(store, "01A")
    assert show_media(store, "01A") == kept
    assert verify(store).blobs.missing == (HASH,)
    assert hello(store, "01B") == kept  # who uploads it again repairs it
    assert verify(store).ok


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_bytes_that_were_changed_on_disk_are_refused_and_named(
    opened: Open, tmp_path: Path, engine: str
) -> None:
    store = opened(engine)
    hello(store, "01A")
    [file] = tmp_path.glob(f"*-blobs/*/{HASH}")
    file.write_bytes(b"hellO")

    with pytest.raises(BlobDiffers, match=HASH):
        read(store, "01A")

    assert verify(store).blobs.damaged == (HASH,)


# --- deleting, moving -----------------------------------------------------------------


def test_deleted_media_leave_their_bytes_to_those_that_refer_to_them(store: Store) -> None:
    hello(store, "01A")
    attached = attachments.create(
        store, [HELLO], id="01X", channel="c", uploader="bo", filename="a", mime_type="a/b"
    )

    run(store, "media.delete", id="01A")
    run(store, "media.delete", id="01A")
    run(store, "media.delete", id="unknown")

    assert show_media(store, "01A") is find_media(store, HASH) is None
    assert redirect(store, "01A").status == 404
    assert rows(store) == []
    assert attached == attachments.show(store, "01X")
    assert b"".join(store.blobs.get(HASH)) == HELLO
    assert verify(store).ok


def test_a_content_whose_media_were_deleted_has_a_new_id(store: Store) -> None:
    hello(store, "01A")
    run(store, "media.delete", id="01A")

    again = hello(store, "01B")

    assert again.media_id == "01B"
    assert find_media(store, HASH) == again
    with pytest.raises(media.MediaIdTaken, match="media 01A was deleted"):
        put(store, [b"other"], id="01A", mime_type="a/b", uploader="ada")


def test_media_move_only_where_their_bytes_are_right(store: Store, s3: S3Server) -> None:
    kept = hello(store, "01A")
    blobs = S3Blobs(s3.place(f"{secrets.token_hex(6)}/"))
    elsewhere = replace(store, place_for_blobs=blobs)

    with pytest.raises(NoSuchBlob, match=HASH):
        run(elsewhere, "media.move", id="01A")
    assert show_media(store, "01A") == kept
    blobs.put([HELLO])
    run(elsewhere, "media.move", id="01A")

    bucket, key = blobs.location(HASH)
    moved = kept._replace(bucket=bucket, s3_key=key)
    assert show_media(store, "01A") == moved
    assert rows(store) == [moved]
    run(store, "media.move", id="01A")  # and back, where they still are
    assert show_media(store, "01A") == kept
    with pytest.raises(media.UnknownMedia):
        run(store, "media.move", id="01B")


# --- rows of a legacy store -----------------------------------------------------------


def test_of_legacy_rows_with_one_content_the_first_has_it_until_it_is_deleted(
    store: Store,
) -> None:
    store.blobs.put([HELLO])
    import_row(store, "01B")
    import_row(store, "01A", duplicate_of="01B")
    first, second = show_media(store, "01B"), show_media(store, "01A")

    assert first
    assert second
    assert (first.media_id, second.media_id) == ("01B", "01A")
    assert find_media(store, HASH) == hello(store, "01C") == first
    run(store, "media.delete", id="01B")
    assert find_media(store, HASH) == second
    run(store, "media.delete", id="01A")
    assert find_media(store, HASH) is None


def import_row(store: Store, id: str, duplicate_of: str | None = None) -> None:
    row = media.Imported(
        id, {"content": HASH}, "image/png", 5, "ada", "then", duplicate_of=duplicate_of
    )
    [event] = media.import_row(media.Media(), row)
    stream = streams.name("media", id)
    taken = tuple(Claim(*claim, stream) for claim in claims([event]))
    write = Write(stream, 0, (store.codec.encode(event, b"{}"),))
    [outcome] = store.log.append([Command(f"import {id}", (write,), taken)])
    assert isinstance(outcome, Appended)


# --- what a web route answers ---------------------------------------------------------


def test_a_route_streams_what_is_on_disk(store: Store) -> None:
    hello(store, "01A")

    answer = redirect(store, "01A")

    assert (answer.status, answer.url) == (200, None)
    assert answer.headers == {
        "Content-Type": "image/png",
        "Content-Length": "5",
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "public, max-age=31536000, immutable",
    }
    assert answer.body
    assert b"".join(answer.body) == HELLO


def test_a_route_knows_nothing_of_what_is_not_there(store: Store) -> None:
    answer = redirect(store, "01A")

    assert (answer.status, answer.url, answer.headers, answer.body) == (404, None, {}, None)


@pytest.mark.parametrize(
    ("mime_type", "signed"),
    [
        ("image/png", "image/png"),
        ("text/html; charset=utf-8", "text/html; charset=utf-8"),
        ("video/webm;codecs=vp8,opus", "video/webm"),
    ],
)
def test_a_route_sends_to_what_is_in_a_bucket(
    in_bucket: Store, mime_type: str, signed: str
) -> None:
    put(in_bucket, [HELLO], id="01A", mime_type=mime_type, uploader="ada")

    answer = redirect(in_bucket, "01A")

    assert (answer.status, answer.body) == (302, None)
    assert answer.url
    assert answer.headers == {"Location": answer.url, "Cache-Control": "no-store"}
    assert answer.url not in repr(answer)  # who has it, has the bytes
    got = urllib3.request("GET", answer.url)
    assert (got.status, got.data, got.headers["Content-Type"]) == (200, HELLO, signed)
    assert got.headers["Content-Disposition"] == "attachment"
    assert redirect(in_bucket, "01B").status == 404


def test_a_record_says_where_in_a_bucket_its_bytes_are(in_bucket: Store) -> None:
    kept = hello(in_bucket, "01A")

    assert isinstance(in_bucket.blobs, InBucket)
    assert (kept.bucket, kept.s3_key) == in_bucket.blobs.location(HASH)
    assert kept.s3_key
    assert kept.s3_key.endswith(f"/{HASH}")
    assert read(in_bucket, "01A") == (kept, HELLO)


@pytest.fixture
def in_bucket(memory: Store, s3: S3Server) -> Store:
    """An empty store in memory, with its blobs in a bucket."""
    blobs = S3Blobs(s3.place(f"{secrets.token_hex(6)}/"))
    return replace(memory, place_for_blobs=blobs)


# --- copies ---------------------------------------------------------------------------


@pytest.mark.parametrize("engines", [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_copy_has_the_records_and_the_bytes(opened: Open, engines: tuple[str, str]) -> None:
    source, target = map(opened, engines)
    hello(source, "01A")
    put(source, [b"x" * 700_000], id="01B", mime_type="a/b", uploader="ada")
    attachments.create(
        source, [b"pixels"], id="01X", channel="c", uploader="bo", filename="a", mime_type="a/b"
    )
    run(source, "media.delete", id="01A")
    source.blobs.put([HELLO])
    import_row(source, "01C")

    certificate = copy(source, target)

    assert certificate.equal
    assert (certificate.blobs.count, certificate.blobs.missing) == (3, ())
    assert list(target.blobs.list()) == list(source.blobs.list())
    assert rows(target) == rows(source)
    assert read(target, "01B") == read(source, "01B")
    assert target.log.claims()[1] == source.log.claims()[1]
    assert len(target.log.claims()[1]) == 2
    assert hello(target, "01D").media_id == "01C"


# --- what the tests ask with ----------------------------------------------------------


def run(store: Store, name: str, /, **fields: object) -> Done:
    return commands.run(store, name, fields, command_id=f"{next(NUMBERS)}", actor="ada")


def hello(store: Store, id: str) -> Media:
    return put(store, [HELLO], id=id, mime_type="image/png", uploader="ada")


def read(store: Store, id: str) -> tuple[Media, bytes]:
    found = open_media(store, id)
    assert found
    return found[0], b"".join(found[1])


def rows(store: Store) -> list[Media]:
    """The rows of the table, by id."""
    store.folder.catch_up()
    with store.tables.reading() as connection:
        generation = store.tables.current(connection)[table.NAME]
        return [Media._make(row) for row in store.tables.rows.scan(connection, generation)]


def assert_nothing_is_kept(store: Store) -> None:
    assert store.log.heads()[0].position == 0
    assert list(store.blobs.list()) == []
    assert show_media(store, "01A") is None
