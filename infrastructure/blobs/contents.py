"""Contents on their way in and out, measured and checked the same way for every place."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import chain
from typing import Final, Protocol, runtime_checkable

from refold.domain.errors import BadInput, BlobDiffers, NoSuchBlob, TooLarge, WrongHash
from refold.domain.ports import Blob, Blobs
from refold.domain.texts import check_sha256

CHUNK: Final = 1 << 18
"""Bytes that are read at once."""


class Measure:
    """Hashes and counts the chunks of a content that comes in, and refuses what was not meant."""

    def __init__(self, expected: str | None, cap: int | None) -> None:
        """Raise `NotASha256` unless `expected` is one."""
        if expected is not None:
            check_sha256(expected)
        self._expected = expected
        self._cap = cap
        self._digest = sha256()
        self._size = 0

    def add(self, chunk: bytes) -> None:
        """Count `chunk`; to be called before it is kept. Raises `TooLarge`."""
        self._size += len(chunk)
        if self._cap is not None and self._size > self._cap:
            raise TooLarge(self._cap)
        self._digest.update(chunk)

    def blob(self) -> Blob:
        """Return what all chunks make together. Raises `WrongHash`."""
        actual = self._digest.hexdigest()
        if self._expected not in (None, actual):
            raise WrongHash(str(self._expected), actual)
        return Blob(actual, self._size)


def check_range(start: int, end: int | None) -> None:
    """Raise `BadInput` for a negative number."""
    if start < 0 or (end is not None and end < 0):
        raise BadInput(f"a range of bytes from {start} to {end} counts from 0, not from the end")


def checked(name: str, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Pass the whole content `name` on, its last chunk only if all fit, else `BlobDiffers`."""
    digest = sha256()
    last = b""
    for chunk in chunks:
        digest.update(chunk)
        if last:
            yield last
        last = chunk
    if digest.hexdigest() != name:
        raise BlobDiffers(name, digest.hexdigest())
    if last:
        yield last


def begun(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Return `chunks` with the first one read, so that what is wrong at once is raised at once."""
    return chain([first for first in (next(chunks, b""),) if first], chunks)


def bring(source: Blobs, target: Blobs, sha256: str) -> None:
    """Have a blob of `source` in `target` too, where that is another place."""
    if target is not source:
        target.put(source.get(sha256), expected=sha256)


@runtime_checkable
class InBucket(Protocol):
    """Blobs that are objects of a bucket."""

    def location(self, sha256: str) -> tuple[str, str]:
        """Return the bucket and the key where a content is, or would be."""
        ...


def location(blobs: Blobs, sha256: str) -> tuple[str | None, str | None]:
    """Return the bucket and the key where a content is, or would be; None twice on disk."""
    return blobs.location(sha256) if isinstance(blobs, InBucket) else (None, None)


def is_whole(blobs: Blobs, sha256: str) -> bool:
    """Tell whether a blob is there and holds what its name says; it is read for that."""
    try:
        for _ in blobs.get(sha256):
            pass
    except (NoSuchBlob, BlobDiffers):
        return False
    return True
