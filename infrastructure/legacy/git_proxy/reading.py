"""Everything that one git-proxy keeps: a folder, single files, or the address of its PostgreSQL."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from refold.domain.errors import BadInput
from refold.infrastructure.address import Postgres
from refold.infrastructure.legacy.git_proxy.documents import (
    COLLECTIONS,
    Document,
    Survey,
)
from refold.infrastructure.legacy.git_proxy.files import SourceFile
from refold.infrastructure.legacy.git_proxy.tables import Tables
from refold.infrastructure.legacy.importing import Refusal


class Source:
    """What was found and checked whole; it can be iterated again and again.

    `surveys` has the counts of each file or table. Iterating yields users, repos, pushes, sessions
    and migrations, each by the position of its line.
    """

    def __init__(self, parts: Iterable[SourceFile | Tables]) -> None:
        self._parts = tuple(parts)
        self.surveys: tuple[Survey, ...] = sum((part.surveys for part in self._parts), ())

    def __iter__(self) -> Iterator[Document | Refusal]:
        """Yield documents and refusals. Raises `BadInput` when a file was changed meanwhile."""
        for part in self._parts:
            yield from part


def open_source(paths: Iterable[Path | Postgres]) -> Source:
    """Check whole what `paths` name: folders, files (`.gz` too), or one database.

    The collection is what a file's name starts with: users.db, pushes.json.gz. In a folder all
    other names are passed over. A crash copy `x.db~` counts only where there is no `x.db`.
    Raises `BadInput` for what cannot be read, is cut off or too corrupt, or names a collection
    twice; `Unavailable` for a database, and `InsecureServer` for one elsewhere without TLS.
    """
    given = list(paths)
    places = [each for each in given if isinstance(each, Postgres)]
    if len(given) > 1 and places:
        raise BadInput("a PostgreSQL address stands alone: it names all that git-proxy keeps")
    for place in places:
        return Source([Tables(place)])
    files = _files(Path(each) for each in given if not isinstance(each, Postgres))
    return Source(SourceFile(files[name], name) for name in COLLECTIONS if name in files)


def read(paths: Iterable[Path | Postgres]) -> Iterator[Document | Refusal]:
    """Check whole what `paths` name, then return its documents and refusals; see `open_source`."""
    return iter(open_source(paths))


def _files(paths: Iterable[Path]) -> dict[str, Path]:
    """Return the file of each collection."""
    files: dict[str, Path] = {}
    for path in paths:
        for collection, file in _in_folder(path) if path.is_dir() else [_named(path)]:
            if collection in files:
                raise BadInput(f"{files[collection]} and {file} both hold {collection}")
            files[collection] = file
    if not files:
        raise BadInput("nothing was named that holds documents of git-proxy")
    return files


def _in_folder(folder: Path) -> list[tuple[str, Path]]:
    try:
        names = sorted(file for file in folder.iterdir() if _NAME.fullmatch(file.name))
    except OSError as error:
        raise BadInput(f"{folder} cannot be read: {error.strerror}") from error
    found = [_collection(file) for file in names if _original(file) in (None, file)]
    if not found:
        raise BadInput(f"{folder} holds no file of git-proxy, such as users.db or users.json")
    return found


def _named(file: Path) -> tuple[str, Path]:
    if not _NAME.fullmatch(file.name):
        raise BadInput(
            f"{file} is no name of a file of git-proxy: those start with {', '.join(COLLECTIONS)}"
            " and end with .db, .json or .jsonl, or with .gz after that"
        )
    if _original(file) not in (None, file):
        raise BadInput(f"{file} is a copy from a crash, and {_original(file)} is there: it counts")
    return _collection(file)


def _collection(file: Path) -> tuple[str, Path]:
    return file.name.partition(".")[0], file


def _original(file: Path) -> Path | None:
    """Return the file that counts in place of a crash copy, if there is one; else the file."""
    original = file.with_name(file.name.replace(".db~", ".db"))
    return original if original.exists() else None


_NAME: Final = re.compile(
    rf"(?:{'|'.join(COLLECTIONS)})\.(?:[\w-]+\.)*(?:db~?|jsonl?)(?:\.gz)?", re.ASCII
)
