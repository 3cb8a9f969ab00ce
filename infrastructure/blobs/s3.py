"""Blobs as objects of an S3 bucket, `<prefix><SHA-256>`, at AWS or at any compatible endpoint."""

import errno
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256 as sha256_of
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final, TypedDict
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from refold.domain.errors import BadInput, NoSpace, NoSuchBlob, TooLarge, Unavailable
from refold.domain.ports import Blob
from refold.domain.texts import check_sha256
from refold.infrastructure.blobs.contents import CHUNK, Measure, begun, check_range, checked
from refold.infrastructure.blobs.presigning import (
    PresignedPut,
    check_seconds,
    disposition,
    media_type,
)
from refold.infrastructure.blobs.s3_place import S3Place, client
from refold.infrastructure.failpoints import reach

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART: Final = 8 << 20
"""Bytes of the largest content that goes up in one request, and of a part of a larger one."""
MOST_PARTS: Final = 10_000
LARGEST_PUT: Final = 5 << 30
"""Bytes that S3 takes in one PUT."""
PAGE: Final = 1000
"""Names that are listed at once."""


class S3Blobs:
    """`Blobs` and `PresignedBlobs` in a bucket that is there. Any number of processes may share it.

    A process that is killed during a large put leaves parts of it, which no listing of blobs shows:
    the next process that puts the same content removes them, if it may list uploads; let the
    bucket's lifecycle abort incomplete ones after a day. A bucket that keeps versions keeps what
    was deleted, too.
    """

    def __init__(self, place: S3Place) -> None:
        self._place = place
        self._host = "AWS"
        self._since = datetime.now(UTC)
        with self._failures():
            self._client = client(place)
        self._host = urlsplit(self._client.meta.endpoint_url).netloc.rpartition("@")[2]

    @property
    def place(self) -> tuple[str, str, str]:
        return self._host, self._place.bucket, self._place.prefix

    def put(
        self, chunks: Iterable[bytes], *, expected: str | None = None, cap: int | None = None
    ) -> Blob:
        # An object's name is its hash, which only the end tells; and what is refused never leaves.
        measure = Measure(expected, cap)
        with _spool() as spool:
            for chunk in chunks:
                measure.add(chunk)
                with _spooling():
                    spool.write(chunk)
            blob = measure.blob()
            with _spooling():
                spool.seek(0)
            self._upload(blob, spool)
        return blob

    def get(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        check_sha256(sha256)
        check_range(start, end)
        if (start, end) == (0, None):
            return begun(checked(sha256, self._read(sha256)))
        blob = self.head(sha256)
        if blob is None:
            raise NoSuchBlob(sha256)
        end = blob.size if end is None else min(end, blob.size)
        return begun(self._read(sha256, start, end)) if start < end else iter(())

    def location(self, sha256: str) -> tuple[str, str]:
        """Return the bucket and the key where a content is, or would be."""
        return self._place.bucket, self._place.prefix + sha256

    def head(self, sha256: str) -> Blob | None:
        check_sha256(sha256)
        with self._failures():
            try:
                found = self._client.head_object(**self._at(sha256))
            except ClientError as error:
                if _status(error) != 404:
                    raise
                self._client.head_bucket(Bucket=self._place.bucket)  # its absence looks the same
                return None
        return Blob(sha256, found["ContentLength"])

    def delete(self, sha256: str) -> None:
        check_sha256(sha256)
        with self._failures(), suppress(self._client.exceptions.NoSuchKey):  # not from AWS
            self._client.delete_object(**self._at(sha256))

    def list(self) -> Iterator[Blob]:
        prefix = self._place.prefix
        pages: Any = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._place.bucket,
            Prefix=prefix,
            Delimiter="/",
            PaginationConfig={"PageSize": PAGE},
        )
        with self._failures():
            for page in pages:
                for found in page.get("Contents", ()):
                    name = found["Key"].removeprefix(prefix)
                    if re.fullmatch("[0-9a-f]{64}", name):
                        yield Blob(name, found["Size"])

    def presigned_get(
        self,
        sha256: str,
        *,
        content_type: str | None = None,
        filename: str | None = None,
        seconds: int | None = None,
    ) -> str:
        check_sha256(sha256)
        answer = {
            "ResponseContentType": media_type(content_type),
            "ResponseContentDisposition": disposition(filename),
        }
        with self._failures():
            return self._client.generate_presigned_url(
                "get_object", Params=self._at(sha256) | answer, ExpiresIn=self._seconds(seconds)
            )

    def presigned_put(self, sha256: str, size: int, seconds: int | None = None) -> PresignedPut:
        check_sha256(sha256)
        if size < 0:
            raise BadInput(f"no content has {size} bytes")
        if size > (most := min(self._place.upload_bytes, LARGEST_PUT)):
            raise TooLarge(most)
        checksum = _checksum(bytes.fromhex(sha256))
        content = {"ContentLength": size, "ChecksumSHA256": checksum}
        with self._failures():
            url = self._client.generate_presigned_url(
                "put_object", Params=self._at(sha256) | content, ExpiresIn=self._seconds(seconds)
            )
        return PresignedPut(url, {"Content-Length": str(size), "x-amz-checksum-sha256": checksum})

    def _at(self, sha256: str) -> "_Address":
        return {"Bucket": self._place.bucket, "Key": self._place.prefix + sha256}

    def _seconds(self, seconds: int | None) -> int:
        return self._place.presign_seconds if seconds is None else check_seconds(seconds)

    # --- bytes on their way ---------------------------------------------------------

    def _upload(self, blob: Blob, content: IO[bytes]) -> None:
        with self._failures():
            if blob.size > PART:
                self._upload_parts(blob, content)
            else:
                self._client.put_object(
                    **self._at(blob.sha256),
                    Body=content,
                    ContentLength=blob.size,
                    ChecksumSHA256=_checksum(bytes.fromhex(blob.sha256)),
                )

    def _upload_parts(self, blob: Blob, content: IO[bytes]) -> None:
        at = self._at(blob.sha256)
        size = max(PART, -(-blob.size // MOST_PARTS))
        upload = self._client.create_multipart_upload(**at, ChecksumAlgorithm="SHA256")["UploadId"]
        try:
            pieces = enumerate(iter(lambda: content.read(size), b""), 1)
            parts = []
            for number, piece in pieces:
                parts.append(self._part(at, upload, number, piece))
                reach("blobs: part sent")
            self._client.complete_multipart_upload(
                **at, UploadId=upload, MultipartUpload={"Parts": parts}
            )
        except BaseException as error:  # an interruption, too
            with suppress(BotoCoreError, ClientError, HTTPError):
                self._client.abort_multipart_upload(**at, UploadId=upload)
            if not _is_removed(error) or self.head(blob.sha256) != blob:
                raise
        self._remove_leftovers(at)

    def _remove_leftovers(self, at: "_Address") -> None:
        """Abort uploads of a content that is there now which began before this process.

        Who is still at one after all sees that it is there.
        """
        now = datetime.now(UTC)
        with suppress(BotoCoreError, ClientError, HTTPError):  # such as no right to list them
            found = self._client.list_multipart_uploads(Bucket=at["Bucket"], Prefix=at["Key"])
            for each in found.get("Uploads", ()):
                if each.get("Key") == at["Key"] and each.get("Initiated", now) < self._since:
                    self._client.abort_multipart_upload(**at, UploadId=each.get("UploadId", ""))

    def _part(
        self, at: "_Address", upload: str, number: int, piece: bytes
    ) -> "CompletedPartTypeDef":
        checksum = _checksum(sha256_of(piece).digest())
        answer = self._client.upload_part(
            **at, UploadId=upload, PartNumber=number, Body=piece, ChecksumSHA256=checksum
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _read(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the content, or the bytes from `start` to `end`, of which there is at least one."""
        with self._failures():
            try:
                if end is None:
                    found = self._client.get_object(**self._at(sha256))
                else:
                    found = self._client.get_object(
                        **self._at(sha256), Range=f"bytes={start}-{end - 1}"
                    )
            except self._client.exceptions.NoSuchKey as missing:
                raise NoSuchBlob(sha256) from missing
            with closing(found["Body"]) as body:
                if end is not None and found["ContentLength"] != end - start:
                    raise Unavailable(f"{self._where()} does not give ranges")
                yield from body.iter_chunks(CHUNK)

    # --- errors ---------------------------------------------------------------------

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            what = f"{self._where()} cannot be used: {_code(error)}"
            full = _status(error) == 507 or _code(error) == "QuotaExceeded"
            raise (NoSpace(what) if full else Unavailable(what)) from error
        except (BotoCoreError, HTTPError, OSError) as error:
            what = f"{self._where()} cannot be used: {type(error).__name__}"
            raise Unavailable(what) from error

    def _where(self) -> str:
        return f"the S3 bucket {self._place.bucket} at {self._host}"


class _Address(TypedDict):
    Bucket: str
    Key: str


def _checksum(digest: bytes) -> str:
    return b64encode(digest).decode()


def _code(error: ClientError) -> str:
    """Return S3's code of an error, or the HTTP status: what else a server says may be anything."""
    code = str(error.response.get("Error", {}).get("Code"))
    return code if re.fullmatch("[A-Za-z0-9]{1,64}", code) else str(_status(error))


def _is_removed(error: BaseException) -> bool:
    return isinstance(error, ClientError) and _code(error) == "NoSuchUpload"


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


@contextmanager
def _spool() -> Iterator[IO[bytes]]:
    spool = SpooledTemporaryFile(PART)  # noqa: SIM115 - closed below
    try:
        yield spool
    finally:
        with suppress(OSError):  # it tries again what could not be written
            spool.close()


@contextmanager
def _spooling() -> Iterator[None]:
    """Translate what goes wrong with the temporary file."""
    try:
        yield
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise NoSpace(f"there is no room for a temporary file: {name}") from error
        raise Unavailable(f"no temporary file can be written: {name}") from error
