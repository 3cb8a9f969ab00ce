"""What is special to blobs in a bucket: who may, what changes, parts, addresses, the network."""

import os
import re
import resource
import secrets
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError
from pydantic import SecretStr

from refold.domain.errors import (
    BadInput,
    BlobDiffers,
    NoSpace,
    NoSuchBlob,
    TooLarge,
    Unavailable,
    WrongHash,
)
from refold.domain.ports import Blob, Blobs
from refold.domain.texts import NotASha256
from refold.infrastructure.blobs import s3 as module
from refold.infrastructure.blobs import s3_place
from refold.infrastructure.blobs.presigning import PresignedBlobs, PresignedPut
from refold.infrastructure.blobs.s3 import LARGEST_PUT, PART, S3Blobs
from refold.infrastructure.blobs.s3_place import S3Place, client
from refold.tests.s3_server import ACCESS_KEY, BUCKET, S3Server

HELLO: Final = sha256(b"hello").hexdigest()
COMPLETE: Final = ["CompleteMultipartUpload", "ListMultipartUploads"]
LARGE: Final = Random(20).randbytes(20 << 20)  # noqa: S311 - no secret

OPERATIONS: Final[dict[str, Callable[[Blobs], object]]] = {
    "put": lambda blobs: blobs.put([b"hello"]),
    "put in parts": lambda blobs: blobs.put([LARGE]),
    "get": lambda blobs: list(blobs.get(HELLO)),
    "get a range": lambda blobs: list(blobs.get(HELLO, 1, 2)),
    "head": lambda blobs: blobs.head(HELLO),
    "delete": lambda blobs: blobs.delete(HELLO),
    "list": lambda blobs: list(blobs.list()),
}
operations = pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)


@pytest.fixture
def place(s3: S3Server) -> S3Place:
    """A place in the bucket that no other test has."""
    return s3.place(f"{secrets.token_hex(6)}/")


@pytest.fixture
def blobs(place: S3Place) -> S3Blobs:
    """Blobs there."""
    return S3Blobs(place)


# --- who may ------------------------------------------------------------------------


@operations
def test_a_wrong_secret_is_refused(place: S3Place, operation: Callable[[Blobs], object]) -> None:
    wrong = S3Blobs(replace(place, secret_key=SecretStr("a-wrong-secret")))

    with pytest.raises(Unavailable, match=r"SignatureDoesNotMatch|AccessDenied|403") as failure:
        operation(wrong)

    assert f"the S3 bucket {BUCKET} at 127.0.0.1:" in str(failure.value)
    assert hidden(failure.value, place, "a-wrong-secret")
    assert kept(place) == []


@operations
def test_a_bucket_that_is_not_there_is_not_an_empty_one(
    place: S3Place, operation: Callable[[Blobs], object]
) -> None:
    with pytest.raises(Unavailable, match=r"no-such-bucket .*(NoSuchBucket|404)") as failure:
        operation(S3Blobs(replace(place, bucket="no-such-bucket")))

    assert hidden(failure.value, place)


def test_keys_may_come_from_where_boto3_finds_them(
    place: S3Place, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    environment.setenv("AWS_SECRET_ACCESS_KEY", revealed(place))

    found = S3Blobs(replace(place, access_key=None, secret_key=None))

    assert found.put([b"hello"]) == S3Blobs(place).head(HELLO)


@operations
def test_without_any_keys_a_bucket_is_unavailable(
    place: S3Place, environment: pytest.MonkeyPatch, operation: Callable[[Blobs], object]
) -> None:
    nobody = S3Blobs(replace(place, access_key=None, secret_key=None))

    with pytest.raises(Unavailable, match="NoCredentialsError"):
        operation(nobody)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[pytest.MonkeyPatch]:
    """An environment where boto3 finds no keys, and does not remember any."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_place._session.cache_clear()
    yield monkeypatch
    s3_place._session.cache_clear()


def test_keys_are_not_in_the_text_of_a_place(place: S3Place) -> None:
    secret = replace(
        place, access_key=SecretStr("an-access-key"), session_token=SecretStr("token-x")
    )

    text = repr(secret)

    assert BUCKET in text
    assert not [word for word in ("an-access-key", "token-x", revealed(place)) if word in text]


@pytest.mark.parametrize(
    "wrong",
    [
        {"bucket": "../media"},
        {"bucket": ""},
        {"prefix": "media"},
        {"prefix": "/"},
        {"prefix": "../"},
        {"prefix": "a//"},
        {"endpoint": "http://ada:pass-word@127.0.0.1"},
        {"endpoint": "http://127.0.0.1/?token=pass-word"},
        {"endpoint": "ftp://pass-word"},
        {"endpoint": "http://pass-word..test"},
        {"secret_key": None},
        {"presign_seconds": 0},
        {"presign_seconds": 901},
    ],
)
def test_a_place_that_cannot_be_right_is_refused(place: S3Place, wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as refusal:
        replace(place, **wrong)

    assert "pass-word" not in str(refusal.value)


# --- where a content is -------------------------------------------------------------


def test_the_name_of_an_object_is_prefix_and_hash(place: S3Place, blobs: S3Blobs) -> None:
    blobs.put([b"hello"])

    found = client(place).get_object(Bucket=BUCKET, Key=place.prefix + HELLO)

    assert found["Body"].read() == b"hello"


def test_what_is_no_blob_is_not_listed(place: S3Place, blobs: S3Blobs) -> None:
    kept_one = blobs.put([b"hello"])
    S3Blobs(replace(place, prefix=f"{place.prefix}inner/")).put([b"another place's"])
    for name in ("notes.txt", HELLO.upper(), f"{HELLO}0", f"x/{HELLO}"):
        client(place).put_object(Bucket=BUCKET, Key=place.prefix + name, Body=b"stray")

    assert list(blobs.list()) == [kept_one]


def test_a_listing_goes_on_behind_its_first_page(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_ones = [blobs.put([bytes([number])]) for number in range(8)]
    monkeypatch.setattr(module, "PAGE", 3)

    listed = list(blobs.list())

    assert listed == sorted(kept_ones, key=lambda blob: blob.sha256)


def test_a_damaged_object_is_told_and_its_last_chunk_kept_back(
    place: S3Place, blobs: S3Blobs
) -> None:
    client(place).put_object(Bucket=BUCKET, Key=place.prefix + HELLO, Body=b"hallo")
    passed: list[bytes] = []

    with pytest.raises(BlobDiffers):
        passed.extend(blobs.get(HELLO))

    assert passed == []


# --- what changes on its way --------------------------------------------------------


def test_the_server_refuses_a_wrong_checksum(place: S3Place) -> None:
    with pytest.raises(ClientError, match="BadDigest"):
        client(place).put_object(
            Bucket=BUCKET,
            Key=place.prefix + HELLO,
            Body=b"hallo",
            ChecksumSHA256=module._checksum(bytes.fromhex(HELLO)),
        )

    assert kept(place) == []


@pytest.mark.parametrize("content", [b"hello", LARGE], ids=["one request", "parts"])
def test_a_byte_that_changes_on_its_way_is_noticed(
    s3: S3Server, place: S3Place, blobs: S3Blobs, content: bytes
) -> None:
    before = s3.objects()

    with (
        before_signing(blobs, change_a_byte),
        pytest.raises(Unavailable, match="BadDigest"),
    ):
        blobs.put([content])

    assert kept(place) == []
    assert s3.objects() == before


# --- contents of any size -----------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "requests"),
    [
        (0, ["PutObject"]),
        (PART, ["PutObject"]),
        (PART + 1, ["CreateMultipartUpload", *["UploadPart"] * 2, *COMPLETE]),
        (len(LARGE), ["CreateMultipartUpload", *["UploadPart"] * 3, *COMPLETE]),
    ],
)
def test_a_content_above_8_mib_goes_up_in_parts(
    place: S3Place, blobs: S3Blobs, size: int, requests: list[str]
) -> None:
    content = LARGE[:size]
    asked: list[str] = []

    with before_signing(blobs, lambda operation_name, **_: asked.append(operation_name)):
        blob = blobs.put(content[at : at + 300_000] for at in range(0, size, 300_000))

    assert asked == requests
    assert blob == Blob(sha256(content).hexdigest(), size) == blobs.head(blob.sha256)
    assert b"".join(blobs.get(blob.sha256)) == content
    assert b"".join(blobs.get(blob.sha256, PART - 5, PART + 5)) == content[PART - 5 : PART + 5]
    blobs.delete(blob.sha256)
    assert kept(place) == []


def test_more_parts_than_s3_takes_are_not_made(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PARTS", 2)
    asked: list[str] = []

    with before_signing(blobs, lambda operation_name, **_: asked.append(operation_name)):
        blob = blobs.put([LARGE])

    assert asked.count("UploadPart") == 2
    assert b"".join(blobs.get(blob.sha256)) == LARGE


def test_a_stream_that_breaks_midway_leaves_nothing(place: S3Place, blobs: S3Blobs) -> None:
    def broken() -> Iterator[bytes]:
        yield LARGE[: 12 << 20]
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        blobs.put(broken())

    assert kept(place) == []


@pytest.mark.parametrize("bound", [{"expected": HELLO}, {"cap": 15 << 20}], ids=str)
def test_a_large_content_that_is_refused_leaves_nothing(
    place: S3Place, blobs: S3Blobs, bound: dict[str, Any]
) -> None:
    with pytest.raises((WrongHash, TooLarge)):
        blobs.put([LARGE[: 10 << 20], LARGE[10 << 20 :]], **bound)

    assert kept(place) == []


@pytest.mark.parametrize("at", ["UploadPart", "CompleteMultipartUpload"])
def test_an_interruption_between_parts_leaves_nothing(
    s3: S3Server, place: S3Place, blobs: S3Blobs, at: str
) -> None:
    before = s3.objects()
    underway: list[str] = []

    def interrupt(operation_name: str, request: Any, **_: object) -> None:
        if operation_name == at and "partNumber=1" not in request.url:
            underway.extend(kept(place))
            assert s3.objects() > before
            raise KeyboardInterrupt

    with before_signing(blobs, interrupt), pytest.raises(KeyboardInterrupt):
        blobs.put([LARGE])

    assert underway == [f"an upload of {place.prefix}{sha256(LARGE).hexdigest()}"]
    assert kept(place) == []
    assert s3.objects() == before


def test_two_may_put_the_same_large_content_at_once(place: S3Place) -> None:
    content = LARGE[: PART + 7]

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: S3Blobs(place).put([content]), range(2))

    assert first == second
    assert list(S3Blobs(place).list()) == [first]
    assert b"".join(S3Blobs(place).get(first.sha256)) == content


def test_parts_that_a_killed_process_left_are_removed_by_the_next_put(place: S3Place) -> None:
    name = sha256(LARGE).hexdigest()
    at = {"Bucket": place.bucket, "Key": place.prefix + name}
    raw: Any = client(place)
    upload = raw.create_multipart_upload(**at)["UploadId"]
    raw.upload_part(**at, UploadId=upload, PartNumber=1, Body=LARGE[:PART])
    raw.create_multipart_upload(Bucket=place.bucket, Key=f"{place.prefix}{name}-another")
    left = kept(place)
    time.sleep(1.1)  # uploads are listed with whole seconds

    blob = S3Blobs(place).put([LARGE])

    assert sorted(left) == [f"an upload of {place.prefix}{name}{rest}" for rest in ("", "-another")]
    assert kept(place) == [place.prefix + name, f"an upload of {place.prefix}{name}-another"]
    assert b"".join(S3Blobs(place).get(blob.sha256)) == LARGE


def test_a_put_whose_parts_another_removed_sees_that_the_content_is_there(
    place: S3Place, blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = list[str]()

    def overtaken(step: str) -> None:
        steps.append(step)
        if len(steps) == 1:
            time.sleep(1.1)
            S3Blobs(place).put([LARGE])

    monkeypatch.setattr(module, "reach", overtaken)
    blob = blobs.put([LARGE])

    assert len(steps) == 1 + 3  # the other's three; ours ended at the second
    assert kept(place) == [place.prefix + blob.sha256]
    assert b"".join(blobs.get(blob.sha256)) == LARGE


# --- no room for the temporary file -------------------------------------------------


def test_a_full_disk_for_temporary_files_is_no_space(place: S3Place, blobs: S3Blobs) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9 << 20, hard))
    try:
        with pytest.raises(NoSpace, match="EFBIG"):
            blobs.put([LARGE[:5_000]] * 2_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert kept(place) == []


def test_a_folder_for_temporary_files_that_is_not_there_is_told(
    blobs: S3Blobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))

    with pytest.raises(Unavailable, match="ENOENT"):
        blobs.put([LARGE])

    assert blobs.put([b"hello"]) == Blob(HELLO, 5)


# --- addresses to read from ---------------------------------------------------------


def test_a_presigned_url_gives_the_content_as_something_to_save(blobs: S3Blobs) -> None:
    blobs.put([b"hello"])

    plain = request("GET", blobs.presigned_get(HELLO))
    named = request(
        "GET", blobs.presigned_get(HELLO, content_type="image/png", filename='größe "1"\\.png')
    )

    assert (plain.status, plain.data) == (named.status, named.data) == (200, b"hello")
    assert plain.headers["Content-Type"] == "application/octet-stream"
    assert plain.headers["Content-Disposition"] == "attachment"
    assert named.headers["Content-Type"] == "image/png"
    assert named.headers["Content-Disposition"] == (
        "attachment; filename*=UTF-8''gr%C3%B6%C3%9Fe%20%221%22%5C.png"
    )


TAMPERINGS: Final[Mapping[str, tuple[str, str]]] = {
    "another blob": (HELLO, sha256(b"other").hexdigest()),
    "another type": ("application%2Foctet-stream", "text%2Fhtml"),
    "shown, not saved": ("=attachment", "=inline"),
    "good for longer": ("X-Amz-Expires=900", "X-Amz-Expires=901"),
    "another signature": ("X-Amz-Signature=", "X-Amz-Signature=0"),
}


@pytest.mark.parametrize("tampering", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_tampered_url_is_refused(blobs: S3Blobs, tampering: tuple[str, str]) -> None:
    blobs.put([b"hello"])
    blobs.put([b"other"])
    url = blobs.presigned_get(HELLO)
    tampered = url.replace(*tampering)

    answer = request("GET", tampered)

    assert tampered != url
    assert answer.status == 403
    assert b"hello" not in answer.data
    assert request("GET", url).status == 200


def test_an_expired_url_is_refused(blobs: S3Blobs) -> None:
    blobs.put([b"hello"])
    get = blobs.presigned_get(HELLO, seconds=1)
    put = blobs.presigned_put(sha256(b"other").hexdigest(), 5, seconds=1)
    assert request("GET", get).status == 200

    time.sleep(2.1)  # signed times are whole seconds

    assert request("GET", get).status == 403
    assert send(put, b"other").status == 403
    assert blobs.head(sha256(b"other").hexdigest()) is None


def test_a_url_is_good_for_15_minutes_at_most(place: S3Place, blobs: S3Blobs) -> None:
    shorter = S3Blobs(replace(place, presign_seconds=60))

    assert seconds(blobs.presigned_get(HELLO)) == seconds(blobs.presigned_put(HELLO, 5).url) == 900
    assert (
        seconds(shorter.presigned_get(HELLO)) == seconds(shorter.presigned_put(HELLO, 5).url) == 60
    )
    assert seconds(shorter.presigned_get(HELLO, seconds=900)) == 900
    for wrong in (-1, 0, 901):
        with pytest.raises(BadInput, match="1 to 900"):
            blobs.presigned_get(HELLO, seconds=wrong)
        with pytest.raises(BadInput, match="1 to 900"):
            blobs.presigned_put(HELLO, 5, seconds=wrong)


def test_what_cannot_be_signed_is_refused(place: S3Place, blobs: S3Blobs) -> None:
    for name in ("", "a" * 63, "../" + "a" * 61):
        with pytest.raises(NotASha256):
            blobs.presigned_get(name)
        with pytest.raises(NotASha256):
            blobs.presigned_put(name, 5)
    for type_ in ("", "text", "text/html\r\nX-Evil: 1", "text/html; charset=utf-8; x=y"):
        with pytest.raises(BadInput):
            blobs.presigned_get(HELLO, content_type=type_)
    with pytest.raises(BadInput):
        blobs.presigned_put(HELLO, -1)
    for upload_bytes, most in ((9, 9), (LARGEST_PUT * 2, LARGEST_PUT)):
        bounded = S3Blobs(replace(place, upload_bytes=upload_bytes))
        assert bounded.presigned_put(HELLO, most).url
        with pytest.raises(TooLarge, match=f"larger than {most} bytes"):
            bounded.presigned_put(HELLO, most + 1)


@pytest.mark.parametrize(
    ("changes", "start"),
    [
        ({}, "https://media.s3.eu-west-1.amazonaws.com/p/"),
        ({"path_style": True}, "https://s3.eu-west-1.amazonaws.com/media/p/"),
        ({"endpoint": "https://s3.test:8443"}, "https://media.s3.test:8443/p/"),
        ({"endpoint": "https://s3.test", "path_style": True}, "https://s3.test/media/p/"),
    ],
)
def test_a_bucket_is_in_the_host_or_in_the_path(changes: dict[str, Any], start: str) -> None:
    key, secret = SecretStr("key"), SecretStr("secret")
    place = S3Place("media", region="eu-west-1", prefix="p/", access_key=key, secret_key=secret)

    blobs = S3Blobs(replace(place, **changes))

    assert blobs.presigned_get(HELLO).startswith(f"{start}{HELLO}?")
    assert blobs.presigned_put(HELLO, 5).url.startswith(f"{start}{HELLO}?")


def test_virtual_host_style_is_understood(s3: S3Server, place: S3Place, blobs: S3Blobs) -> None:
    blobs.put([b"hello"])
    virtual = replace(place, endpoint=f"http://s3.test:{s3.port}", path_style=False)

    url = urlsplit(S3Blobs(virtual).presigned_get(HELLO))
    here = url._replace(netloc=f"127.0.0.1:{s3.port}").geturl()  # no name server knows s3.test

    assert url.hostname == f"{BUCKET}.s3.test"
    assert request("GET", here, headers={"Host": url.netloc}).data == b"hello"


# --- addresses to write to ----------------------------------------------------------


def test_a_presigned_put_keeps_the_content_that_it_names(blobs: S3Blobs) -> None:
    answer = send(blobs.presigned_put(HELLO, 5), b"hello")

    assert answer.status == 200
    assert blobs.head(HELLO) == Blob(HELLO, 5)
    assert b"".join(blobs.get(HELLO)) == b"hello"


def test_a_presigned_put_of_other_content_is_refused_and_nothing_kept(
    place: S3Place, blobs: S3Blobs
) -> None:
    put = blobs.presigned_put(HELLO, 5)
    hallo = blobs.presigned_put(sha256(b"hallo").hexdigest(), 5)
    bare = {"Content-Length": "5"}

    refused = [
        send(put, b"hallo"),
        send(put, b"hello!", {"Content-Length": "6"}),
        send(put, b"hallo", hallo.headers),
        send(PresignedPut(put.url, bare), b"hallo"),
        send(PresignedPut(put.url.replace("%3Bx-amz-checksum-sha256", ""), bare), b"hallo"),
    ]

    assert [answer.status for answer in refused] == [400, 403, 403, 403, 403]
    assert kept(place) == []


def test_a_presigned_url_is_not_in_the_text_of_a_put(blobs: PresignedBlobs) -> None:
    put = blobs.presigned_put(HELLO, 5)

    assert "Signature" in put.url
    assert "Signature" not in repr(put)


# --- the network --------------------------------------------------------------------


@operations
def test_a_server_that_is_down_is_unavailable_soon(
    place: S3Place, operation: Callable[[Blobs], object]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    down = S3Blobs(replace(place, endpoint=f"http://127.0.0.1:{port}"))
    begun = time.monotonic()

    with pytest.raises(Unavailable, match=f"bucket {BUCKET} at 127.0.0.1:{port} ") as failure:
        operation(down)

    assert time.monotonic() - begun < 15
    assert hidden(failure.value, place)


def test_a_server_that_says_nothing_is_unavailable_in_the_end(
    place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorter = s3_place.PATIENCE.merge(Config(read_timeout=0.2))
    monkeypatch.setattr(s3_place, "PATIENCE", shorter)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"

        with pytest.raises(Unavailable, match="ReadTimeoutError"):
            S3Blobs(replace(place, endpoint=endpoint)).head(HELLO)


def test_a_connection_that_breaks_within_a_content_is_unavailable(place: S3Place) -> None:
    with answering(200, b"hel", {"Content-Length": "5"}) as endpoint:
        blobs = S3Blobs(replace(place, endpoint=endpoint))

        with pytest.raises(Unavailable, match=r"IncompleteReadError|ResponseStreamingError"):
            list(blobs.get(HELLO))


def test_a_server_without_room_has_no_space(place: S3Place) -> None:
    with answering(507, b"", {"Content-Length": "0"}) as endpoint:
        blobs = S3Blobs(replace(place, endpoint=endpoint))

        with pytest.raises(NoSpace, match="507"):
            blobs.put([b"hello"])


def test_a_server_that_gives_more_than_the_range_is_not_believed(place: S3Place) -> None:
    with answering(200, b"hello", {"Content-Length": "5"}) as endpoint:
        blobs = S3Blobs(replace(place, endpoint=endpoint))

        with pytest.raises(Unavailable, match="ranges"):
            list(blobs.get(HELLO, 1, 3))


def test_what_a_server_says_is_not_repeated(place: S3Place) -> None:
    error = b"<Error><Code>odd: %s</Code><Message>%s</Message></Error>" % ((b"leak-me",) * 2)
    with answering(400, error, {"Content-Length": str(len(error))}) as endpoint:
        blobs = S3Blobs(replace(place, endpoint=endpoint))

        with pytest.raises(Unavailable, match=r": 400$"):
            blobs.put([b"hello"])


def test_a_content_that_vanishes_between_two_requests_is_not_there(
    blobs: S3Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs, "head", lambda name: Blob(name, 5))

    with pytest.raises(NoSuchBlob):
        blobs.get(HELLO, 1, 3)


@contextmanager
def answering(status: int, body: bytes, headers: Mapping[str, str]) -> Iterator[str]:
    """Run a server that gives everybody the same answer and then hangs up."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            for header in headers.items():
                self.send_header(*header)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)
            self.close_connection = True

        do_HEAD = do_PUT = do_GET  # noqa: N815 - named by HTTP

        def log_message(self, format: str, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


# --- what tests ask -----------------------------------------------------------------


def kept(place: S3Place) -> list[str]:
    """Return all objects and unfinished uploads below the prefix."""
    raw: Any = client(place)
    below = {"Bucket": place.bucket, "Prefix": place.prefix}
    objects = raw.list_objects_v2(**below).get("Contents", ())
    uploads = raw.list_multipart_uploads(**below).get("Uploads", ())
    return [each["Key"] for each in objects] + [f"an upload of {each['Key']}" for each in uploads]


@contextmanager
def before_signing(blobs: S3Blobs, hook: Callable[..., None]) -> Iterator[None]:
    """Have `hook` called with each request when its checksum is computed but not its signature."""
    events = blobs._client.meta.events
    events.register("before-sign.s3", hook)
    try:
        yield
    finally:
        events.unregister("before-sign.s3", hook)


def change_a_byte(operation_name: str, request: Any, **_: object) -> None:
    if operation_name == "PutObject":
        request.data = b"hallo"
    elif operation_name == "UploadPart" and "partNumber=2" in request.url:
        request.data = b"?" + request.data.read()[1:]


def hidden(failure: BaseException, place: S3Place, *more: str) -> bool:
    """Tell whether nothing secret is in an error, its causes and its traceback."""
    text = "".join(traceback.format_exception(failure))
    assert place.access_key is not None
    words = (revealed(place), place.access_key.get_secret_value(), *more)
    return not re.search(r"X-Amz|Signature=", text) and not any(word in text for word in words)


def revealed(place: S3Place) -> str:
    assert place.secret_key is not None
    return place.secret_key.get_secret_value()


def seconds(url: str) -> int:
    return int(parse_qs(urlsplit(url).query)["X-Amz-Expires"][0])


def request(
    method: str, url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> urllib3.BaseHTTPResponse:
    """Ask as somebody without keys would, once."""
    return urllib3.request(method, url, body=body, headers=headers, retries=False, timeout=30)


def send(
    put: PresignedPut, content: bytes, headers: Mapping[str, str] | None = None
) -> urllib3.BaseHTTPResponse:
    return request("PUT", put.url, content, {**put.headers, **(headers or {})})
