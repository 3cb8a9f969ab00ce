"""A file that is one large JSON object, read member by member: PinShare's metadata.json is one.

Little more than one member is held at a time. Numbers are kept as they are written, and names that
stand twice are told.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from stat import S_ISREG
from typing import Final, TextIO

from refold.domain.errors import BadInput


class NotMetadata(BadInput):
    """A file is no metadata.json."""


class Truncated(BadInput):
    """A file ends too early: PinShare does not replace its file in one step."""


@dataclass(frozen=True, slots=True)
class Member:
    key: str
    line: int
    value: object
    raw: str
    """The text of key and value."""


@dataclass(frozen=True)
class Number:
    """A number that is no integer of a sensible length, as it is written."""

    text: str


class Repeating(dict[str, object]):
    """An object in which a name stands twice."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    return plain if len(plain) == len(pairs) else Repeating(pairs)


def _integer(text: str) -> object:
    return int(text) if len(text) <= 100 else Number(text)


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=Number,
    parse_constant=_refuse_constant,
)
_CHUNK: Final = 1 << 16
"""Characters read at once."""
_SPACE: Final = re.compile(r"[ \t\n\r]*")
_CUT: Final = re.compile(
    r"[ \t\n\r]*|-|\.|[eE][-+]?|t|tr|tru|f|fa|fal|fals|n|nu|nul|u[0-9a-fA-F]{0,4}"
)
"""What may stand between the place where a JSON text stops making sense and its end, if the text
was only cut off there."""
NOT_UTF8: Final = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of the bytes that are not UTF-8."""


def members(path: Path) -> Iterator[Member]:
    """Yield the members of the object in a file; none of an empty file or null.

    Raises `Truncated` or `NotMetadata` where the text stops making sense, `BadInput` when the file
    cannot be read. A `.gz` file is unpacked.
    """
    with _opened(path) as stream:
        yield from _Scanner(path, stream).members()


class _Scanner:
    """Reads one large JSON object, member by member, and holds little more than one of them."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path = path
        self._stream = stream
        self._text = ""
        self._at = 0
        self._line = 1
        self._dropped = 0
        self._ended = False

    def members(self) -> Iterator[Member]:
        start = self._next()
        if start == "{":
            yield from self._members()
        elif start == "n":
            self._value()
        elif start or self._dropped + self._at:  # white space alone is no JSON, an empty file is
            raise self._wrong()
        if self._next():
            raise self._wrong()

    def _members(self) -> Iterator[Member]:
        self._take("{")
        if self._next() == "}":
            return self._take("}")
        while True:
            if self._next() != '"':
                raise self._wrong()
            line = self._line
            key, raw_key = self._value()
            self._take(":")
            self._next()
            value, raw = self._value()
            yield Member(str(key), line, value, raw_key + raw)
            if self._next() == "}":
                return self._take("}")
            self._take(",")

    def _next(self) -> str:
        """Skip white space and return the next character, `""` at the end of the file."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._move(space.end() if space else self._at)
            if self._at < len(self._text) or self._ended:
                return self._text[self._at : self._at + 1]
            self._fill()

    def _take(self, mark: str) -> None:
        if self._next() != mark:
            raise self._wrong()
        self._move(self._at + 1)

    def _value(self) -> tuple[object, str]:
        """Take one value and return it with its text."""
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as error:
                if not self._cut_off(error):
                    self._move(error.pos)
                    raise self._wrong() from error
                if self._ended:
                    self._move(len(self._text))
                    raise self._wrong() from error
            except (ValueError, RecursionError) as error:
                raise self._wrong() from error
            else:
                if self._ended or not _CUT.fullmatch(self._text, end):
                    raw = self._text[self._at : end]
                    self._move(end)
                    return value, raw
            self._fill()

    def _cut_off(self, error: json.JSONDecodeError) -> bool:
        unterminated = error.msg.startswith("Unterminated string")
        return unterminated or _CUT.fullmatch(self._text, error.pos) is not None

    def _move(self, to: int) -> None:
        self._line += self._text.count("\n", self._at, to)
        self._at = to

    def _fill(self) -> None:
        """Read on; a long value doubles what is read at once."""
        more = self._read(max(_CHUNK, len(self._text) - self._at))
        self._dropped += self._at
        self._text = self._text[self._at :] + more
        self._at = 0
        self._ended = not more

    def _read(self, characters: int) -> str:
        try:
            return self._stream.read(characters)
        except EOFError as error:
            raise Truncated(f"{self._path} is cut off: its gzip stream has no end") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise NotMetadata(f"{self._path} cannot be unpacked: {error}") from error
        except OSError as error:
            raise BadInput(f"{self._path} cannot be read: {error.strerror}") from error

    def _wrong(self) -> BadInput:
        """Return the error for a file that makes no sense here."""
        place = f"line {self._line}, character {self._dropped + self._at + 1}"
        if self._at == len(self._text):
            return Truncated(f"{self._path} is cut off: it ends at {place}, before it is complete")
        return NotMetadata(f"{self._path} is no metadata.json: it makes no sense at {place}")


# --- files ----------------------------------------------------------------------------


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        stream = gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise BadInput(f"{path} cannot be opened: {error.strerror}") from error
    with stream, TextIOWrapper(stream, "utf-8", "surrogateescape", newline="") as text:
        yield text


def stamp(path: Path) -> Mapping[str, int]:
    """Return what tells one state of a file from another."""
    try:
        found = path.stat()
    except OSError as error:
        raise BadInput(f"{path} cannot be opened: {error.strerror}") from error
    if not S_ISREG(found.st_mode):
        raise BadInput(f"{path} cannot be opened: it is not a file")
    if path.suffix == ".gz" and found.st_size == 0:
        raise Truncated(f"{path} is cut off: it is empty, which no gzip file is")
    return {"inode": found.st_ino, "size": found.st_size, "modified": found.st_mtime_ns}


def check_unchanged(path: Path, state: object) -> None:
    """Raise `BadInput` unless the `stamp` of the file at `path` still is `state`."""
    if stamp(path) != state:
        raise BadInput(f"{path} was changed while it was read; stop PinShare and read it again")
