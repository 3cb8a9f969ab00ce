"""Blobs as files of a folder: `<folder>/<first two digits>/<SHA-256>`.

The folder itself may be reached over a symbolic link, which is its owner's affair. Inside it none
is followed: every step goes from an open folder to a name in it.
"""

import errno
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Final

from refold.domain.errors import Failure, NoSpace, NoSuchBlob, Unavailable, Unreadable
from refold.domain.ports import Blob
from refold.domain.texts import check_sha256
from refold.infrastructure.blobs.contents import CHUNK, Measure, begun, check_range, checked

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY
_INNER_FOLDER: Final = _FOLDER | os.O_NOFOLLOW
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe would wait for a writer
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_INCOMING: Final = "incoming-"
"""How the name of a file begins that is still being written."""


class NotAPlainFile(Unreadable):
    """Where a file or folder of blobs should be is something else, such as a symbolic link."""


class DiskBlobs:
    """`Blobs` in `folder`, which the first put makes. Any number of processes may share it.

    Fanned out over 256 folders and not flat like decentcom's: a million names in one folder are
    slow to list in order. A file's name is still the whole hash.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def place(self) -> Path:
        return self._folder.resolve()

    def put(
        self, chunks: Iterable[bytes], *, expected: str | None = None, cap: int | None = None
    ) -> Blob:
        measure = Measure(expected, cap)
        with _incoming(self._folder) as incoming:
            for chunk in chunks:
                measure.add(chunk)
                incoming.write(chunk)
            blob = measure.blob()
            incoming.keep_as(blob.sha256)
        return blob

    def get(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        check_sha256(sha256)
        check_range(start, end)
        chunks = self._read(sha256, start, end)
        return begun(checked(sha256, chunks) if (start, end) == (0, None) else chunks)

    def _read(self, sha256: str, start: int, end: int | None) -> Iterator[bytes]:
        with _failures(self._folder), ExitStack() as cleanup:
            try:
                with self._fan(sha256[:2]) as fan:
                    file = cleanup.enter_context(_opened(sha256, _FILE, fan))
            except FileNotFoundError as missing:
                raise NoSuchBlob(sha256) from missing
            size = _size(sha256, os.fstat(file))
            end = size if end is None else min(end, size)
            while start < end and (chunk := os.pread(file, min(CHUNK, end - start), start)):
                yield chunk
                start += len(chunk)

    def head(self, sha256: str) -> Blob | None:
        check_sha256(sha256)
        with _failures(self._folder), suppress(FileNotFoundError), self._fan(sha256[:2]) as fan:
            return _blob(sha256, fan)
        return None

    def delete(self, sha256: str) -> None:
        check_sha256(sha256)
        with _failures(self._folder), suppress(FileNotFoundError), self._fan(sha256[:2]) as fan:
            os.unlink(sha256, dir_fd=fan)
            os.fsync(fan)

    def list(self) -> Iterator[Blob]:
        for digits in self._fans():
            yield from self._blobs(digits)

    def _fans(self) -> Sequence[str]:
        with (
            _failures(self._folder),
            suppress(FileNotFoundError),
            _opened(self._folder, _FOLDER) as root,
        ):
            return sorted(filter(re.compile("[0-9a-f]{2}").fullmatch, _names(root)))
        return []

    def _blobs(self, digits: str) -> Sequence[Blob]:
        ours = re.compile(f"{digits}[0-9a-f]{{62}}")
        with _failures(self._folder), suppress(FileNotFoundError), self._fan(digits) as fan:
            names = sorted(filter(ours.fullmatch, _names(fan)))
            return [blob for name in names if (blob := _blob(name, fan))]
        return []

    @contextmanager
    def _fan(self, digits: str) -> Iterator[int]:
        with (
            _opened(self._folder, _FOLDER) as root,
            _opened(digits, _INNER_FOLDER, root) as fan,
        ):
            yield fan


# --- a content on its way in ------------------------------------------------------


@dataclass(frozen=True)
class _Incoming:
    folder: Path
    root: int
    name: str
    file: int

    def write(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        with _failures(self.folder):
            while rest:
                rest = rest[os.write(self.file, rest) :]

    def keep_as(self, sha256: str) -> None:
        """Give the file its name. Both folders are always synced: another may have made them."""
        with _failures(self.folder):
            os.fsync(self.file)
            with suppress(FileExistsError):
                os.mkdir(sha256[:2], 0o700, dir_fd=self.root)
            with _opened(sha256[:2], _INNER_FOLDER, self.root) as fan:
                os.rename(self.name, sha256, src_dir_fd=self.root, dst_dir_fd=fan)
                os.fsync(fan)
            os.fsync(self.root)


@contextmanager
def _incoming(folder: Path) -> Iterator[_Incoming]:
    """Make a file for a content, which is gone in the end unless it was kept.

    What the caller's block raises is not ours to translate.
    """
    with ExitStack() as cleanup:
        with _failures(folder):
            _make(folder)
            root = cleanup.enter_context(_opened(folder, _FOLDER))
            _remove_leftovers(root)
            name, file = cleanup.enter_context(_new_file(root))
        yield _Incoming(folder, root, name, file)


@contextmanager
def _new_file(root: int) -> Iterator[tuple[str, int]]:
    """Make a file that is locked as long as somebody writes it; a killed process lets go of it."""
    while True:
        name = _INCOMING + secrets.token_hex(16)
        with _opened(name, _NEW_FILE, root) as file:
            flock(file, LOCK_EX)
            if os.fstat(file).st_nlink == 0:  # taken for a leftover before it was locked
                continue
            try:
                yield name, file
            finally:
                with suppress(OSError):  # it was kept; or the next put removes it
                    os.unlink(name, dir_fd=root)
            return


def _remove_leftovers(root: int) -> None:
    """Remove what killed processes left: the files that nobody locks. Failing to is no harm."""
    for name in _names(root):
        if name.startswith(_INCOMING):
            with suppress(OSError), _opened(name, _FILE, root) as file:
                flock(file, LOCK_EX | LOCK_NB)
                os.unlink(name, dir_fd=root)  # not there if it was kept; no name comes twice


def _make(folder: Path) -> None:
    if not folder.is_dir():
        _make(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(0o700)
        with _opened(folder.parent, _FOLDER) as parent:
            os.fsync(parent)


# --- files and what their errors mean ---------------------------------------------


def _names(folder: int) -> Sequence[str]:
    return os.listdir(folder)


def _blob(name: str, fan: int) -> Blob | None:
    try:
        return Blob(name, _size(name, os.stat(name, dir_fd=fan, follow_symlinks=False)))
    except FileNotFoundError:
        return None


def _size(name: str, status: os.stat_result) -> int:
    if not stat.S_ISREG(status.st_mode):
        raise NotAPlainFile(f"{name} is not a plain file, so it is no blob")
    return status.st_size


@contextmanager
def _opened(path: str | Path, flags: int, folder: int | None = None) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _failure(folder, error) from error


def _failure(folder: Path, error: OSError) -> Failure:
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return NoSpace(f"there is no room for a blob in {folder}: {name}")
        case errno.ELOOP | errno.ENOTDIR | errno.EISDIR:
            what = error.filename2 or error.filename
            return NotAPlainFile(f"{what} in {folder} is no file or folder of blobs: {name}")
        case _:
            return Unavailable(f"the blob folder {folder} cannot be used: {name}")
