"""A file of NeDB or of mongoexport: checked whole first, then read document by document.

Only ids and line numbers are held in memory. Lines end at `\\n` alone: git-proxy writes other line
separators into its texts as they are.
"""

import gzip
import json
import zlib
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterable, Iterator
from io import BufferedReader, TextIOWrapper
from pathlib import Path
from typing import Final, NamedTuple, TextIO, cast

from refold.domain.errors import BadInput
from refold.infrastructure.codec import parse
from refold.infrastructure.legacy.git_proxy.documents import (
    Document,
    Json,
    Survey,
    document,
    identity,
)
from refold.infrastructure.legacy.importing import Refusal
from refold.infrastructure.legacy.large_object import stamp


class CutOff(BadInput):
    """A file ends in the middle of a document."""


class TooCorrupt(BadInput):
    """More than a tenth of the lines of a file cannot be parsed."""


class SourceFile:
    """A file of one collection, checked whole by the time it is made.

    Raises `CutOff`, `TooCorrupt`, or `BadInput` for a file that cannot be read or is neither
    NeDB's nor mongoexport's; while it is iterated, `BadInput` when it was changed meanwhile.
    """

    def __init__(self, path: Path, collection: str) -> None:
        self._path = path
        self._collection = collection
        self._stamp = stamp(path)
        census = _Census(path, collection)
        for piece in _pieces(path):
            census.add(piece)
        self.surveys = (census.survey(),)
        self._kept = census.kept()
        self._refused = census.refused

    def __iter__(self) -> Iterator[Document | Refusal]:
        """Yield the documents and refusals by the position of their lines."""
        self._check_unchanged()
        for piece in _pieces(self._path):
            if refusal := self._refused.get(piece.line):
                yield refusal
            elif piece.line in self._kept:
                value = cast("Json", parse(piece.text))
                yield document(self._collection, value, str(self._path), piece.line)
        self._check_unchanged()

    def _check_unchanged(self) -> None:
        if stamp(self._path) != self._stamp:
            raise BadInput(
                f"{self._path} was changed while it was read; stop git-proxy and read it again"
            )


class _Census:
    """What the first pass over a file finds out."""

    def __init__(self, path: Path, collection: str) -> None:
        self.refused: dict[int, Refusal] = {}
        self._path = path
        self._collection = collection
        self._counts = Counter[str]()
        self._kinds = Counter[str]()
        self._first_unparsable = 0
        self._signs: dict[str, int] = {}
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._repeating: dict[int, str] = {}

    def add(self, piece: "Piece") -> None:
        self._counts["lines"] += 1
        self._counts["lines_with_raw_separators"] += _has_separator(piece.text)
        value = _parsed(piece.text)
        if isinstance(value, str):
            if piece.is_cut:
                raise CutOff(f"{self._path} is cut off: it ends in the middle of line {piece.line}")
            self._kinds[value] += 1
            self._first_unparsable = self._first_unparsable or piece.line
            self.refused[piece.line] = Refusal("", str(self._path), piece.line, f"not {value}")
        else:
            if b"$" in piece.text or b"\\u0024" in piece.text:
                for sign in _signs(value):
                    self._signs.setdefault(sign, piece.line)
            self._add_object(piece.line, value)

    def _add_object(self, line: int, value: Json) -> None:
        key = identity(value.get("_id"))
        if key is None and _is_index(value):
            self._counts["index_created"] += "$$indexCreated" in value
            self._counts["index_removed"] += "$$indexRemoved" in value
        elif key is None:
            self._counts["objects_without_id"] += 1
            refusal = document(self._collection, value, str(self._path), line)
            self.refused[line] = cast("Refusal", refusal)
        elif value.get("$$deleted") is True:
            self._counts["deleted_lines"] += 1
            self._first.pop(key, None)
            self._last.pop(key, None)
        else:
            self._counts["document_lines"] += 1
            if self._first.setdefault(key, line) != line:
                self._repeating[line] = key
            self._last[key] = line

    def survey(self) -> Survey:
        """Return the counts. Raises `TooCorrupt`, or `BadInput` for a mixture of formats."""
        lines, unparsable = self._counts["lines"], self._kinds.total()
        if unparsable * 10 > lines:
            raise TooCorrupt(
                f"{self._path} is refused: {unparsable} of its {lines} lines cannot be parsed,"
                f" the first is line {self._first_unparsable}"
            )
        found = self._format()
        if found == "nedb":
            self._counts["superseded_lines"] = self._counts["document_lines"] - len(self._last)
        else:
            self._counts["repeated"] = len(self._repeating)
            for line, key in self._repeating.items():
                reason = f"the _id stands already in line {self._first[key]}"
                self.refused[line] = Refusal(key, str(self._path), line, reason)
        return Survey(
            str(self._path),
            self._collection,
            found,
            documents=len(self._last),
            unparsable_by_kind=dict(self._kinds),
            **self._counts,
        )

    def kept(self) -> frozenset[int]:
        """Return the lines of the documents that count; to be asked after `survey`."""
        nedb = self._format() == "nedb"
        return frozenset((self._last if nedb else self._first).values())

    def _format(self) -> str:
        if len(self._signs) > 1:
            raise BadInput(
                f"{self._path} mixes two formats: line {self._signs['nedb']} is NeDB's,"
                f" line {self._signs['mongoexport']} is mongoexport's"
            )
        named = "nedb" if ".db" in self._path.name else "mongoexport"
        return next(iter(self._signs), named)


def _signs(value: Json) -> Iterator[str]:
    """Yield the formats that alone write such an object; mostly there is none."""
    for name, part in value.items():
        if name.startswith("$$"):
            yield "nedb"
        elif isinstance(part, dict) and len(part) == 1:
            [mark] = part
            if mark == "$$date":
                yield "nedb"
            elif mark in ("$oid", "$date", "$numberLong", "$numberDouble", "$numberInt"):
                yield "mongoexport"


def _is_index(value: Json) -> bool:
    return "$$indexCreated" in value or "$$indexRemoved" in value


def _parsed(text: bytes) -> Json | str:
    """Return the object that a text is, or what it is not."""
    try:
        text.decode()
        value = parse(text)
    except UnicodeDecodeError:
        return "UTF-8"
    except (ValueError, RecursionError):
        return "JSON"
    return value if isinstance(value, dict) else "an object"


def _has_separator(text: bytes) -> bool:
    """Tell whether U+2028, U+2029 or U+0085 stands in a text as it is."""
    return not text.isascii() and any(mark in text for mark in _SEPARATORS)


_SEPARATORS: Final = tuple(mark.encode() for mark in "\u2028\u2029\x85")

# --- lines and arrays -------------------------------------------------------------------


class Piece(NamedTuple):
    """The text of one record; `is_cut` says that not even the end of its line follows."""

    line: int
    text: bytes
    is_cut: bool


def _pieces(path: Path) -> Iterator[Piece]:
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            is_array = _is_array(stream)
            stream.seek(0)
            if is_array:
                with TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="") as text:
                    yield from _items(path, text)
            else:
                yield from _lines(stream)
    except EOFError as error:
        raise CutOff(f"{path} is cut off: its gzip stream has no end") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise BadInput(f"{path} cannot be unpacked: {error}") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error


def _is_array(stream: gzip.GzipFile | BufferedReader) -> bool:
    while chunk := stream.read(_CHUNK):
        if start := chunk.removeprefix(BOM_UTF8).lstrip():
            return start.startswith(b"[")
    return False


def _lines(stream: Iterable[bytes]) -> Iterator[Piece]:
    for number, line in enumerate(stream, 1):
        if not _is_blank(line):
            yield Piece(number, line.removeprefix(BOM_UTF8), not line.endswith(b"\n"))


def _is_blank(line: bytes) -> bool:
    return not line.removeprefix(BOM_UTF8).strip()


def _items(path: Path, stream: TextIO) -> Iterator[Piece]:
    """Yield the items of an array, however it is laid out, and hold little more than one."""
    array = _Array(path, stream)
    array.take("[")
    while array.next() != "]":
        if array.count:
            array.take(",")
        array.count += 1
        item = array.item().encode("utf-8", "surrogateescape")
        yield Piece(array.count, item, is_cut=False)
    array.take("]")
    if array.next():
        raise array.wrong()


class _Array:
    """The text of a JSON array, of which only a part is held."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self.count = 0
        self._path = path
        self._stream = stream
        self._text = ""
        self._ended = False

    def next(self) -> str:
        """Return the next character that is not white space, `""` at the end of the file."""
        while not (rest := self._text.lstrip(_SPACE)) and not self._ended:
            self._fill()
        self._text = rest
        return rest[:1]

    def take(self, mark: str) -> None:
        if self.next() != mark:
            raise self.wrong()
        self._text = self._text[1:]

    def item(self) -> str:
        """Take the next value, and return its text."""
        self.next()
        while True:
            try:
                _, end = _DECODER.raw_decode(self._text)
            except json.JSONDecodeError as error:
                if self._ended or not self._may_be_cut(error):
                    raise self.wrong() from error
            except (ValueError, RecursionError) as error:
                raise self.wrong() from error
            else:
                item, self._text = self._text[:end], self._text[end:]
                return item
            self._fill()

    def wrong(self) -> BadInput:
        if self._ended and not self._text.rstrip(_SPACE).endswith("]"):
            return CutOff(f"{self._path} is cut off: its array ends in item {self.count}")
        return BadInput(
            f"{self._path} cannot be read: its array makes no sense at item {self.count}"
        )

    def _may_be_cut(self, error: json.JSONDecodeError) -> bool:
        return len(self._text) - error.pos < _LONGEST_TOKEN or "Unterminated" in error.msg

    def _fill(self) -> None:
        """Read on; a long value doubles what is read at once."""
        more = self._stream.read(max(_CHUNK, len(self._text)))
        self._text += more
        self._ended = not more


_DECODER: Final = json.JSONDecoder()
_SPACE: Final = " \t\r\n"
_CHUNK: Final = 1 << 16
_LONGEST_TOKEN: Final = 16
"""Characters before the end of what was read in which a value may only seem to be malformed."""
