"""PinShare's metadata.json: read with every generation and trap, and written back as Go writes it.

Where a rule is odd, it is that of Go's encoding/json, which wrote these files and read them back.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from hashlib import blake2b, sha256
from math import isfinite
from pathlib import Path
from typing import Final, TextIO

from refold.domain import cids, file, times
from refold.domain.errors import Refused
from refold.infrastructure.codec import canonical
from refold.infrastructure.legacy.large_object import (
    NOT_UTF8,
    Member,
    Number,
    Repeating,
    check_unchanged,
    members,
    stamp,
)
from refold.projections.columns import storable


@dataclass(frozen=True, slots=True)
class Entry:
    """One record of a file: kept as `record`, or refused for the reason in `refusal`.

    `line` is the 1-based line of the key. `digest` is the SHA-256 of the fields as Go sees them, as
    canonical JSON: neither white space nor the order or case of field names changes it.
    """

    key: str
    line: int
    digest: str
    record: file.Record | None = None
    refusal: str | None = None
    notes: tuple[str, ...] = ()


def read(path: Path) -> Iterator[Entry]:
    """Check the whole file, then return its records one by one; a `.gz` file is unpacked.

    Raises `Truncated` or `NotMetadata` at once when the syntax of the file is broken anywhere, and
    `BadInput` when it cannot be opened, or was changed while it was read. An empty file and `null`
    have no records.
    """
    state = stamp(path)
    keys = _Keys()
    for found in members(path):
        keys.add(found.key)
    return _entries(path, state, keys)


def gossip(message: Mapping[str, object]) -> tuple[str, file.Record]:
    """Return the key and the record in a gossip message, which is one record with its sum.

    Raises `Refused` when the record cannot be kept.
    """
    if not isinstance(message, Mapping):
        raise _CannotKeep(f"the record is {_what(message)}, not an object")
    canonical(dict(message))
    fields = _fields(dict(message), [])
    key = _text(fields, "fileSHA256")
    return key, _record(key, fields, [])


def document(key: str, record: file.Record) -> dict[str, object]:
    """Return `record` as PinShare's JSON object, fields in the order of the Go struct.

    What `record` says was absent or null is so again, as long as the field still has no value.
    """
    fields: dict[str, object] = {"fileSHA256": record.extra.get("fileSHA256", key)}
    if "fileSHA256" in record.absent:
        del fields["fileSHA256"]
    for name, value, zero in [
        ("ipfsCID", record.cid, ""),
        ("fileName", record.name, ""),
        ("fileType", record.type, ""),
        ("lastUpdated", record.last_updated, times.ZERO_TIME),
        ("addedAt", record.added_at, times.ZERO_TIME),
        ("moderationVotes", record.moderation_votes, 0),
        ("tags", dict(sorted(record.tags.items())) if record.tags is not None else None, None),
        ("banSet", record.ban_set, 0),
    ]:
        unset = value == zero or (name == "tags" and not value)
        if not (unset and name in record.absent):
            fields[name] = record.extra.get(name, value) if unset else value
    return fields | {name: record.extra[name] for name in sorted(record.extra.keys() - _FIELDS)}


def write(entries: Iterable[tuple[str, dict[str, object]]], out: TextIO) -> int:
    """Write the documents as Go's `json.MarshalIndent` does, and return how many they were.

    Raises `ValueError` unless the keys ascend as their UTF-8 bytes do.
    """
    count, previous = 0, ""
    for key, fields in entries:
        if count and key <= previous:
            raise ValueError(f"key {key!r} comes after {previous!r}")
        out.write(",\n  " if count else "{\n  ")
        out.write(f"{_go_json(key)}: {_go_json(fields)}".replace("\n", "\n  "))
        count, previous = count + 1, key
    out.write("\n}" if count else "{}")
    return count


def _go_json(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    return _ESCAPED_BY_GO.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


# A lone surrogate cannot be encoded; Go would have made it U+FFFD when it read it.
_ESCAPED_BY_GO: Final = re.compile("[<>&\u2028\u2029\ud800-\udfff]")

# --- from what was found to entries -------------------------------------------------


def _entries(path: Path, state: object, keys: "_Keys") -> Iterator[Entry]:
    check_unchanged(path, state)
    for found in members(path):
        yield _entry(found, keys)
    check_unchanged(path, state)


def _entry(found: "Member", keys: "_Keys") -> Entry:
    notes: list[str] = []
    value = _fields(found.value, notes) if isinstance(found.value, dict) else found.value
    entry = Entry(found.key, found.line, _digest(value, found.raw))
    try:
        if keys.stands_again(found.key):
            raise _CannotKeep("repeated: the key stands again further down, the last one counts")
        if NOT_UTF8.search(found.raw):
            raise _CannotKeep("the record holds bytes that are not UTF-8")
        record = _record(found.key, value, notes)
        file.check_record(found.key, record)
    except Refused as error:
        return Entry(entry.key, entry.line, entry.digest, refusal=str(error))
    notes += _notes(found.key, record)
    if keys.has_twin(found.key):
        notes.append("another key differs only in case")
    return Entry(entry.key, entry.line, entry.digest, record, notes=tuple(dict.fromkeys(notes)))


def _digest(value: object, raw: str) -> str:
    """Return the sum by which a later import knows the record again: never change how."""
    try:
        canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_spelled)
    except RecursionError:  # such a record is refused; its text tells it apart well enough
        canonical = raw
    return sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def _spelled(number: "Number") -> dict[str, str]:
    return {"number": number.text}


def _notes(key: str, record: file.Record) -> Iterator[str]:
    if not re.fullmatch("[0-9a-f]{64}", key):
        yield "key is not 64 lower-case hex digits"
    if record.extra.get("fileSHA256") is not None:
        yield "key differs from fileSHA256"
    if cids.raw_digest(record.cid) not in (None, key.lower()):
        yield "raw CID holds another sum"
    if record.ban_set not in (0, *file.BAN_CODES):
        yield f"unknown ban code {record.ban_set}"
    if any(storable(text) != text for text in (record.cid, record.name, record.type)):
        yield "tables show NUL and lone surrogates as \u2400 and \ufffd"


# --- from an object to a record -----------------------------------------------------

_NAMES: Final = (
    "fileSHA256",
    "ipfsCID",
    "fileName",
    "fileType",
    "lastUpdated",
    "addedAt",
    "moderationVotes",
    "tags",
    "banSet",
)
_FIELDS: Final = frozenset(_NAMES)
_BY_FOLDED_NAME: Final = {name.lower(): name for name in _NAMES}
_DEEPEST: Final = 50
"""Levels of lists and objects in an unknown field; the codec takes 64 in a whole event."""


class _CannotKeep(Refused):
    """A record is odd in a way that a `file.Record` cannot hold."""


def _fields(found: dict[str, object], notes: list[str]) -> dict[str, object]:
    """Return the fields by their proper names, as Go would have set them one after the other."""
    fields: dict[str, object] = {}
    for written, value in found.pairs if isinstance(found, Repeating) else found.items():
        name = written if written in _FIELDS else _proper_name(written)
        if name != written:
            notes.append("field names in another case")
        if name in fields:
            notes.append(_REPEATED)
        fields[name] = _set_again(name, fields[name], value) if name in fields else value
    return fields


_REPEATED: Final = "repeated names within the record, the last one counts"


def _proper_name(written: str) -> str:
    # Go folds by Unicode's simple rules, by which the long s and the Kelvin sign are letters too.
    return _BY_FOLDED_NAME.get(written.lower().replace("\u017f", "s"), written)


def _set_again(name: str, before: object, value: object) -> object:
    """Return what Go makes of a field that is given twice: null changes nothing, maps add up."""
    if name == "tags" and isinstance(before, dict) and isinstance(value, dict):
        return {**before, **value}
    if name in _FIELDS and name != "tags" and value is None:
        return before
    return value


def _record(key: str, fields: object, notes: list[str]) -> file.Record:
    if not isinstance(fields, dict):
        raise _CannotKeep(f"the record is {_what(fields)}, not an object")
    sum_within = _text(fields, "fileSHA256")
    extra = {name: _plain(fields[name], notes) for name in fields if name not in _FIELDS}
    extra |= {name: None for name in _NAMES if name != "tags" and fields.get(name, "") is None}
    if fields.get("fileSHA256") is not None and sum_within != key:
        extra["fileSHA256"] = sum_within
    return file.Record(
        cid=_text(fields, "ipfsCID"),
        name=_text(fields, "fileName"),
        type=_text(fields, "fileType"),
        added_at=_text(fields, "addedAt", times.ZERO_TIME),
        last_updated=_text(fields, "lastUpdated", times.ZERO_TIME),
        moderation_votes=_whole("moderationVotes", fields.get("moderationVotes")),
        tags=_tags(fields.get("tags"), notes),
        ban_set=_whole("banSet", fields.get("banSet")),
        extra=extra,
        absent=tuple(name for name in _NAMES if name not in fields),
    )


def _text(fields: dict[str, object], name: str, zero: str = "") -> str:
    value = fields.get(name)
    if value is None:
        return zero
    if not isinstance(value, str):
        raise _CannotKeep(f"{name} is {_what(value)}, not a text")
    return value


def _whole(name: str, value: object) -> int:
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int):
        raise _CannotKeep(f"{name} is {_what(value)}, not a whole number")
    return value


def _tags(value: object, notes: list[str]) -> dict[str, int] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _CannotKeep(f"tags is {_what(value)}, not an object")
    if isinstance(value, Repeating):
        notes.append(_REPEATED)
    tags = {}
    for tag, count in value.items():
        if isinstance(count, bool):
            notes.append("boolean tags: true counts 0, false is no tag")
        elif count is None:
            notes.append("null tags count 0")
        if count is not False:
            tags[tag] = 0 if count is True else _whole(f"tag {tag[:40]!r}", count)
    return tags


def _plain(value: object, notes: list[str], depth: int = 0) -> object:
    """Return the value of an unknown field as plain Python objects."""
    if depth > _DEEPEST:
        raise _CannotKeep(f"an unknown field is nested deeper than {_DEEPEST} levels")
    match value:
        case Number(text):
            return _float(text, notes)
        case dict():
            if isinstance(value, Repeating):
                notes.append(_REPEATED)
            return {name: _plain(part, notes, depth + 1) for name, part in value.items()}
        case list():
            return [_plain(part, notes, depth + 1) for part in value]
        case _:
            return value


def _float(text: str, notes: list[str]) -> float:
    number = float(text)
    if not isfinite(number):
        raise _CannotKeep(f"an unknown field holds {text[:40]}, which is too large a number")
    try:
        exact = Decimal(text) == Decimal(repr(number))
    except InvalidOperation:  # an exponent beyond all reason
        exact = False
    if not exact:
        notes.append("a number in an unknown field was rounded")
    return number


def _what(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return f"the number {str(value)[:40]}"
        case Number(text):
            return f"the number {text[:40]}"
        case float():
            return f"the number {value}"
        case str():
            return "a text"
        case list():
            return "a list"
        case _:
            return "an object"


# --- keys that stand twice ------------------------------------------------------------


class _Keys:
    """The keys of a file, known by their hashes so that millions of them fit in memory."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()
        self._further: Counter[bytes] = Counter()
        self._other_case: dict[bytes, set[bytes]] = {}

    def add(self, key: str) -> None:
        exact, folded = _hash(key), _hash(key.lower())
        if exact in self._seen:
            self._further[exact] += 1
        self._seen.add(exact)
        if exact != folded:
            self._other_case.setdefault(folded, set()).add(exact)

    def stands_again(self, key: str) -> bool:
        """Tell whether `key` comes once more; to be asked at each record, in order."""
        exact = _hash(key)
        if self._further[exact] == 0:
            return False
        self._further[exact] -= 1
        return True

    def has_twin(self, key: str) -> bool:
        folded = _hash(key.lower())
        return len(self._other_case.get(folded, ())) + (folded in self._seen) > 1


def _hash(key: str) -> bytes:
    return blake2b(key.encode(errors="surrogatepass"), digest_size=16).digest()
