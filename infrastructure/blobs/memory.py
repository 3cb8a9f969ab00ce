"""Blobs in this process's memory: gone with the process, and otherwise like the others."""

from collections.abc import Iterable, Iterator
from threading import Lock

from refold.domain.errors import NoSuchBlob
from refold.domain.ports import Blob
from refold.domain.texts import check_sha256
from refold.infrastructure.blobs.contents import CHUNK, Measure, check_range


class MemoryBlobs:
    """`Blobs` whose promises end with the process. Bytes in here do not change: none is checked."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._contents: dict[str, bytes] = {}

    @property
    def place(self) -> int:
        return id(self)

    def put(
        self, chunks: Iterable[bytes], *, expected: str | None = None, cap: int | None = None
    ) -> Blob:
        measure = Measure(expected, cap)
        content = bytearray()
        for chunk in chunks:
            measure.add(chunk)
            content += chunk
        blob = measure.blob()
        with self._lock:
            self._contents[blob.sha256] = bytes(content)
        return blob

    def get(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        check_sha256(sha256)
        check_range(start, end)
        with self._lock:
            content = self._contents.get(sha256)
        if content is None:
            raise NoSuchBlob(sha256)
        piece = memoryview(content)[start:end]
        return (bytes(piece[at : at + CHUNK]) for at in range(0, len(piece), CHUNK))

    def head(self, sha256: str) -> Blob | None:
        check_sha256(sha256)
        with self._lock:
            content = self._contents.get(sha256)
        return None if content is None else Blob(sha256, len(content))

    def delete(self, sha256: str) -> None:
        check_sha256(sha256)
        with self._lock:
            self._contents.pop(sha256, None)

    def list(self) -> Iterator[Blob]:
        with self._lock:
            sizes = {name: len(content) for name, content in self._contents.items()}
        return (Blob(name, sizes[name]) for name in sorted(sizes))
