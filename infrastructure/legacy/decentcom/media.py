"""decentcom's folder of media: one flat folder, each file named by the SHA-256 of its bytes."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Final

from refold.domain.errors import BadInput, Unavailable
from refold.domain.texts import check_sha256

CHUNK: Final = 1 << 18
"""Bytes that are read at once."""


class State(Enum):
    PRESENT = "present"
    ABSENT = "absent"
    OTHER_BYTES = "other bytes"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """What stands under the name `hash`: `size` bytes, whose SHA-256 is `actual`, or nothing."""

    hash: str
    state: State
    path: Path
    size: int = 0
    actual: str | None = None

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes as they are now. Raises `Unavailable` when they cannot be read."""
        return _chunks(self.path)


class Folder:
    """The folder; it is read only."""

    def __init__(self, path: Path) -> None:
        """Raise `BadInput` unless `path` is a folder that can be listed."""
        if not path.is_dir():
            raise BadInput(f"{path} is no folder of media")
        self._path = path

    def file(self, hash: str) -> MediaFile:
        """Read the whole file of that name and tell what it is.

        Raises `NotASha256`, and `Unavailable` when the file is there and cannot be read.
        """
        check_sha256(hash)
        path = self._path / hash
        try:
            if not path.is_file():
                return MediaFile(hash, State.ABSENT, path)
        except OSError as error:
            raise Unavailable(f"{path} cannot be looked at: {error.strerror}") from error
        digest, size = sha256(), 0
        for chunk in _chunks(path):
            digest.update(chunk)
            size += len(chunk)
        actual = digest.hexdigest()
        state = State.PRESENT if actual == hash else State.OTHER_BYTES
        return MediaFile(hash, state, path, size, actual)

    def names(self) -> Iterator[str]:
        """Yield the names of all that is in the folder, in no order."""
        try:
            with os.scandir(self._path) as entries:
                for entry in entries:
                    yield entry.name
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be listed: {error.strerror}") from error


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror}") from error
