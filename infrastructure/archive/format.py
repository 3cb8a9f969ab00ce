"""The lines of an archive, and the frames that they are compressed in.

Each line is JSON, and each line here that closes a frame tells what the frame is:

    {"archive": {"format": 1, "log_id": …, "store_id": …, "partition": 0, "source": …, …}}
    {"position": 1, "stream": …, …, "data": {…}, "metadata": {…}}     at most 1 000 of these, then
    {"block": {"first": 1, "last": 1000, "sha256": …, "chain": …, "types": {…}, "blobs": […]}}
    {"key": {"subject": …, "wrapped": …, "erased_at": …}}             any number of these, then
    {"keys": {"count": 3, "sha256": …}}
    {"end": {"position": 1000, "chain": …}}

A block ends at a multiple of 1 000, or where a page of the log or a copy ended. A SHA-256 is of
the lines before it in the frame, a chain that of `refold.infrastructure.chain`. Bytes that are not
JSON on one line stand as base64, in `data_base64` and `metadata_base64`. Whoever finishes an
archive writes an end.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from itertools import accumulate
from typing import Annotated, Any, BinaryIO, Final, NamedTuple

import msgspec
import zstandard
from msgspec import UNSET, Meta, Raw, UnsetType

from refold.domain.ports import Key, Recorded

FORMAT: Final = 1

CHUNK: Final = 1 << 20
"""Compressed bytes that are read at once."""

DEEPEST: Final = 200
"""Levels of nesting up to which bytes stand as JSON: jq reads 256."""


class Header(msgspec.Struct, frozen=True):
    """What an archive says of itself; `made_at` is ISO 8601, UTC.

    `store_id` is that of the store that began it, empty in archives that were made before 0.1.0.
    """

    format: int
    log_id: str
    partition: int
    source: str
    made_at: str
    store_id: str = ""


class BlockEnd(msgspec.Struct, frozen=True):
    """What closes a block of events; `types` counts them, `blobs` are those they refer to."""

    first: int
    last: int
    sha256: str
    chain: str
    types: dict[str, int]
    blobs: list[str]


class KeysEnd(msgspec.Struct, frozen=True):
    """What closes the keys."""

    count: int
    sha256: str


class End(msgspec.Struct, frozen=True):
    """What closes an archive that is finished."""

    position: int
    chain: str


class Closing(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The last line of a frame: the first of these that is there says what the frame is."""

    archive: Header | None = None
    block: BlockEnd | None = None
    keys: KeysEnd | None = None
    end: End | None = None


class _Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    subject: str
    wrapped: bytes | None
    erased_at: int | None


class _KeyLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: _Key


_Number = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    position: _Number
    stream: str
    version: _Number
    type: str
    schema: _Number
    recorded_at: _Number
    command_id: str
    command_no: _Number
    data: Raw | UnsetType = UNSET
    data_base64: bytes | UnsetType = UNSET
    metadata: Raw | UnsetType = UNSET
    metadata_base64: bytes | UnsetType = UNSET


class Malformed(ValueError):
    """A frame or a line is not what an archive has."""


class Torn(Malformed):
    """The file ends within a frame."""


# --- lines ------------------------------------------------------------------------


def event_line(record: Recorded) -> bytes:
    """Return the line of an event, without its end."""
    fields: dict[str, Any] = {}
    for name, value in (("data", record.data), ("metadata", record.metadata)):
        if _is_one_line_of_json(value):
            fields[name] = Raw(value)
        else:
            fields[f"{name}_base64"] = value
    return _ENCODER.encode(
        _Line(
            record.position,
            record.stream,
            record.version,
            record.type,
            record.schema,
            record.recorded_at,
            record.command_id,
            record.command_no,
            **fields,
        )
    )


def read_event(line: bytes, partition: int) -> Recorded:
    """Return the event of a line, byte for byte. Raises `Malformed`."""
    try:
        each = _LINE.decode(line)
    except _WRONG as error:
        raise Malformed("a line is no event") from error
    return Recorded(
        partition,
        each.position,
        each.stream,
        each.version,
        each.type,
        each.schema,
        _bytes(each.data, each.data_base64),
        _bytes(each.metadata, each.metadata_base64),
        each.recorded_at,
        each.command_id,
        each.command_no,
    )


def _bytes(as_json: Raw | UnsetType, as_base64: bytes | UnsetType) -> bytes:
    if isinstance(as_base64, bytes) and as_json is UNSET:
        return as_base64
    if isinstance(as_json, Raw) and as_base64 is UNSET:
        return bytes(as_json)
    raise Malformed("an event has its bytes twice, or not at all")


def _is_one_line_of_json(value: bytes) -> bool:
    """Tell whether bytes can stand in a line as they are, and come out of it again."""
    if b"\n" in value or b"\r" in value:
        return False
    if value.count(b"[") + value.count(b"{") > DEEPEST and _depth(value) > DEEPEST:
        return False
    try:
        value.decode()
        return bytes(_RAW.decode(value)) == value  # space around it would be lost
    except _WRONG:
        return False


def _depth(value: bytes) -> int:
    brackets = _BRACKET.findall(_STRING.sub(b"", value))
    return max(accumulate(1 if each in b"[{" else -1 for each in brackets), default=0)


_WRONG: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_ENCODER: Final = msgspec.json.Encoder()
_LINE: Final = msgspec.json.Decoder(_Line)
_RAW: Final = msgspec.json.Decoder(Raw)
_CLOSING: Final = msgspec.json.Decoder(Closing)
_KEY_LINE: Final = msgspec.json.Decoder(_KeyLine)
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKET: Final = re.compile(rb"[][{}]")


# --- frames -----------------------------------------------------------------------


def header_frame(header: Header) -> bytes:
    """Return the first frame of an archive."""
    return _frame([], Closing(archive=header))


def block_frame(records: Sequence[Recorded], chain: bytes, blobs: Iterable[str]) -> bytes:
    """Return the frame of events whose last one has the chain `chain`."""
    lines = [event_line(record) for record in records]
    end = BlockEnd(
        records[0].position,
        records[-1].position,
        digest(lines),
        chain.hex(),
        dict(sorted(Counter(record.type for record in records).items())),
        sorted(blobs),
    )
    return _frame(lines, Closing(block=end))


def keys_frame(keys: Sequence[Key]) -> bytes:
    """Return the frame of the keys of sealed fields, wrapped as they are kept."""
    lines = [_ENCODER.encode(_KeyLine(_Key(*key))) for key in keys]
    return _frame(lines, Closing(keys=KeysEnd(len(keys), digest(lines))))


def end_frame(position: int, chain: bytes) -> bytes:
    """Return the frame that finishes an archive."""
    return _frame([], Closing(end=End(position, chain.hex())))


def digest(lines: Iterable[bytes]) -> str:
    """Return the SHA-256 of lines, each with its end, in hex."""
    total = sha256()
    for line in lines:
        total.update(line + b"\n")
    return total.hexdigest()


def _frame(lines: Sequence[bytes], closing: Closing) -> bytes:
    text = b"\n".join((*lines, _ENCODER.encode(closing), b""))
    return zstandard.ZstdCompressor(write_checksum=True).compress(text)


class Frame(NamedTuple):
    """A frame as it was read: its lines but the last, that one, and where it ends in the file."""

    lines: list[bytes]
    closing: Closing
    end: int

    def keys(self) -> list[Key]:
        """Return the keys that the lines are. Raises `Malformed`."""
        try:
            found = [_KEY_LINE.decode(line).key for line in self.lines]
        except _WRONG as error:
            raise Malformed("a line is no key") from error
        return [Key(key.subject, key.wrapped, key.erased_at) for key in found]


class Frames:
    """The frames of a file, one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek(0)

    def seek(self, size: int) -> None:
        """Go on behind the first `size` bytes of the file."""
        self._file.seek(size)
        self._rest, self._end = b"", size

    def next(self) -> Frame | None:
        """Return the next frame, None at the end of the file. Raises `Malformed` and `Torn`."""
        text = self._decompressed()
        if text is None:
            return None
        lines = text.removesuffix(b"\n").split(b"\n")
        try:
            closing = _CLOSING.decode(lines.pop())
        except _WRONG as error:
            raise Malformed("a frame is none of an archive") from error
        return Frame(lines, closing, self._end)

    def _decompressed(self) -> bytes | None:
        chunk = self._rest or self._file.read(CHUNK)
        if not chunk:
            return None
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts: list[bytes] = []
        while chunk:
            try:
                parts.append(frame.decompress(chunk))
            except zstandard.ZstdError as error:
                raise Malformed("a frame cannot be decompressed") from error
            self._end += len(chunk) - len(frame.unused_data)
            if frame.eof:
                self._rest = frame.unused_data
                return b"".join(parts)
            chunk = self._file.read(CHUNK)
        raise Torn("the file ends within a frame")
