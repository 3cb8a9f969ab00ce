"""From a row to a record: what each column must look like, and why a row is refused.

A row is kept as it stands, or refused with the reason; nothing is guessed or repaired.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Final, TypeVar

from refold.domain import times
from refold.domain.errors import Refused
from refold.domain.texts import LONE_SURROGATE, NotASha256, check_sha256
from refold.infrastructure.codec import canonical
from refold.infrastructure.legacy.decentcom.records import (
    Attachment,
    Device,
    Media,
    Record,
    Refusal,
    Session,
    Time,
    User,
    hidden,
)

REQUIRED: Final = {
    "users": {"id", "pubkey", "created_at", "updated_at"},
    "user_devices": {"id", "user_id", "pubkey", "x25519_pubkey", "issued_at", "created_at"},
    "sessions": {"token", "user_id", "created_at", "expires_at"},
    "media": {"id", "content_hash", "mime_type", "size_bytes", "uploader_id", "created_at"},
    "attachments": {
        *("id", "message_id", "channel_id", "uploader_id", "filename", "content_hash"),
        *("size", "mime_type", "created_at"),
    },
}
"""The columns that every generation of a table has."""

OPTIONAL: Final[Mapping[str, Mapping[str, object]]] = {
    "users": {"display_name": None, "avatar_hash": None, "is_bot": 0},
    "user_devices": {"device_name": None},
    "sessions": {"is_read_only": 0},
    "media": {},
    "attachments": {"width": None, "height": None, "deleted_at": None},
}
"""The columns that a generation may lack, and what its rows then have."""

R = TypeVar("R", bound=Record)
T = TypeVar("T")


def read(
    table: str,
    make: Callable[["Row"], R],
    rowid: int,
    names: Sequence[str],
    values: Sequence[object],
) -> R | Refusal:
    """Return what `make` makes of a row of `table`, or why it is refused.

    Bytes in a text that are not UTF-8 stand in it as `surrogateescape` makes them.
    """
    written = dict(zip(names, values, strict=True))
    row = Row({**OPTIONAL[table], **written}, rowid, _digest(written))
    try:
        return make(row)
    except _CannotKeep as error:
        return Refusal(table, rowid, _key(table, row), str(error))


class _CannotKeep(Refused):
    """A row is not what decentcom writes."""


def user(row: "Row") -> User:
    return User(
        row.rowid,
        row.digest,
        id=row.name("id"),
        pubkey=row.pubkey("pubkey"),
        display_name=row.maybe(row.text, "display_name"),
        avatar_hash=row.maybe(row.text, "avatar_hash"),
        is_bot=row.flag("is_bot"),
        created_at=row.time("created_at"),
        updated_at=row.time("updated_at"),
    )


def device(row: "Row") -> Device:
    return Device(
        row.rowid,
        row.digest,
        id=row.name("id"),
        user_id=row.name("user_id"),
        pubkey=row.pubkey("pubkey"),
        x25519_pubkey=row.text("x25519_pubkey"),
        device_name=row.maybe(row.text, "device_name"),
        issued_at=row.text("issued_at"),
        created_at=row.time("created_at"),
    )


def session(row: "Row") -> Session:
    return Session(
        row.rowid,
        row.digest,
        token=row.name("token"),
        user_id=row.name("user_id"),
        created_at=row.time("created_at"),
        expires_at=row.time("expires_at"),
        is_read_only=row.flag("is_read_only"),
    )


def media(row: "Row") -> Media:
    return Media(
        row.rowid,
        row.digest,
        id=row.name("id"),
        content_hash=row.sum("content_hash"),
        mime_type=row.text("mime_type"),
        size_bytes=row.count("size_bytes"),
        uploader_id=row.name("uploader_id"),
        created_at=row.time("created_at"),
    )


def attachment(row: "Row") -> Attachment:
    return Attachment(
        row.rowid,
        row.digest,
        id=row.name("id"),
        message_id=row.maybe(row.name, "message_id"),
        channel_id=row.name("channel_id"),
        uploader_id=row.name("uploader_id"),
        filename=row.text("filename"),
        content_hash=row.sum("content_hash"),
        size=row.count("size"),
        mime_type=row.text("mime_type"),
        width=row.maybe(row.count, "width"),
        height=row.maybe(row.count, "height"),
        created_at=row.time("created_at"),
        deleted_at=row.maybe(row.time, "deleted_at"),
    )


def _key(table: str, row: "Row") -> str:
    try:
        return hidden(row.name("token")) if table == Session.table else row.name("id")
    except _CannotKeep:
        return ""


def _digest(written: Mapping[str, object]) -> str:
    """Return the sum by which a later import knows the row again: never change how."""
    plain = {name: _with_json(value) for name, value in written.items()}
    return sha256(canonical(plain)).hexdigest()


def _with_json(value: object) -> object:
    match value:
        case bytes():
            return {"bytes": value.hex()}
        case float():
            return {"number": repr(value)}
        case _:
            return value


# --- columns --------------------------------------------------------------------------


class Row:
    """The columns of a row. Each method returns the value of one, or says why it cannot be kept.

    The reason gives the value, except of an id or a key, which may be a secret.
    """

    def __init__(self, columns: Mapping[str, object], rowid: int, digest: str) -> None:
        self._columns = columns
        self.rowid = rowid
        self.digest = digest

    def maybe(self, read: Callable[[str], T], column: str) -> T | None:
        return None if self._columns[column] is None else read(column)

    def text(self, column: str) -> str:
        value = self._columns[column]
        if not isinstance(value, str):
            raise _CannotKeep(f"{column} is {_what(value)}, not a text")
        if not value.isascii() and LONE_SURROGATE.search(value):
            raise _CannotKeep(f"{column} holds bytes that are not UTF-8")
        return value

    def name(self, column: str) -> str:
        """Return an id: any text with something in it."""
        if not (text := self.text(column)):
            raise _CannotKeep(f"{column} is empty")
        return text

    def pubkey(self, column: str) -> str:
        text = self.text(column)
        size = base58_size(text)
        if size is None:
            raise _CannotKeep(f"{column} is not base58")
        if size != PUBKEY_BYTES:
            raise _CannotKeep(f"{column} is the base58 of {size} bytes, not of {PUBKEY_BYTES}")
        return text

    def sum(self, column: str) -> str:
        text = self.text(column)
        try:
            check_sha256(text)
        except NotASha256:
            raise _CannotKeep(f"{column} {_shown(text)} is not 64 lower-case hex digits") from None
        return text

    def flag(self, column: str) -> bool:
        value = self._columns[column]
        if not isinstance(value, int) or value not in (0, 1):
            raise _CannotKeep(f"{column} is {_what(value)}, not 0 or 1")
        return bool(value)

    def count(self, column: str) -> int:
        value = self._columns[column]
        if not isinstance(value, int) or value < 0:
            raise _CannotKeep(f"{column} is {_what(value)}, not a count")
        return value

    def time(self, column: str) -> Time:
        text = self.text(column)
        try:
            return Time(text, instant(text))
        except times.NotATime:
            raise _CannotKeep(f"{column} {_shown(text)} is not a time") from None


def _what(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case int() | float():
            return f"the number {value}"
        case str():
            return "a text"
        case _:
            return "a blob"


def _shown(text: str) -> str:
    return repr(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")


LONGEST_SHOWN: Final = 80
"""Characters of a value that a reason gives."""

# --- times and keys -------------------------------------------------------------------


def instant(text: str) -> int:
    """Return the µs since 1970 UTC that a time of decentcom names, rounded down.

    It is RFC 3339 with up to nine fraction digits, T and Z in either case, or SQLite's own form
    with a space and no offset. Raises `NotATime`, also beyond the years 1 to 9999 in UTC.
    """
    if _SPACED.fullmatch(text):
        micros = times.micros(f"{text[:10]}T{text[11:]}Z")
    elif text.isascii():
        micros = times.micros(text.upper())
    else:
        raise times.NotATime(f"{text!r} is not a time")
    if not _FIRST <= micros <= _LAST:
        raise times.NotATime(f"{text!r} is not between the years 1 and 9999 in UTC")
    return micros


_SPACED: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,9})?", re.ASCII)
"""What SQLite's own `datetime` writes: UTC, though it does not say so."""
_FIRST: Final = times.micros(times.ZERO_TIME)
_LAST: Final = times.micros("9999-12-31T23:59:59.999999Z")

PUBKEY_BYTES: Final = 32


def base58_size(text: str) -> int | None:
    """Return how many bytes `text` is the base58 of, None when it is none.

    Each leading 1 is a zero byte. Texts of more than 1,000 characters are not looked at.
    """
    if len(text) > 1_000 or not _DIGITS.keys() >= set(text):
        return None
    number = 0
    for character in text:
        number = number * 58 + _DIGITS[character]
    return len(text) - len(text.lstrip("1")) + (number.bit_length() + 7) // 8


_BASE58: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS: Final = {digit: value for value, digit in enumerate(_BASE58)}
