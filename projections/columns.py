"""The column types of query tables: the same values and the same order on both engines."""

import re
from hashlib import sha256
from typing import Final

import sqlalchemy as sa

from refold.domain.texts import LONE_SURROGATE

LONGEST_TEXT: Final = 1_024
"""UTF-8 bytes of a text that an index takes; `~` and its SHA-256 stand for a longer one."""


def text(name: str, comment: str, *, key: bool = False, null: bool = False) -> sa.Column[str]:
    """Return a text column, ordered by code points (C) on every engine."""
    type = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, type, primary_key=key, nullable=null, comment=comment)


def integer(name: str, comment: str, *, null: bool = False) -> sa.Column[int]:
    """Return a 64-bit integer column; times are µs since 1970 UTC."""
    type = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, type, nullable=null, comment=comment)


def log_position(name: str, comment: str) -> sa.Column[int]:
    """Return a column that tells where in the log something is: `is_position` knows it."""
    type = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column(name, type, nullable=False, comment=comment, info={_POSITION: True})


def is_position(column: sa.Column[object]) -> bool:
    """Tell whether a column's values change where a log is numbered anew."""
    return _POSITION in column.info


_POSITION: Final = "position"


def table(name: str, comment: str, *columns: sa.Column[str] | sa.Column[int]) -> sa.Table:
    """Return the declaration of a query table. It is never made under this name itself."""
    return sa.Table(
        name,
        sa.MetaData(),
        *columns,
        comment=comment,
        sqlite_strict=True,
        sqlite_with_rowid=False,
    )


def storable(text: str) -> str:
    """Return `text` as both engines can keep it: NUL as U+2400, lone surrogates as U+FFFD."""
    if text.isascii() and "\0" not in text:
        return text
    return LONE_SURROGATE.sub("\ufffd", text.replace("\0", "\u2400"))


def indexable(value: object) -> str | None:
    """Return a text as every engine can index it, `~` and its SHA-256 if it is too long."""
    if not isinstance(value, str):
        return None
    kept = storable(value)
    if 4 * len(kept) > LONGEST_TEXT and len(kept.encode()) > LONGEST_TEXT:  # 4 bytes at the most
        return "~" + sha256(value.encode(errors="surrogatepass")).hexdigest()
    return kept


def is_kept_as_it_is(text: str) -> bool:
    """Tell whether no other text than this one looks like it in a column."""
    return indexable(text) == text and not _STANDS_FOR_OTHERS.search(text)


_STANDS_FOR_OTHERS: Final = re.compile("^~|[\u2400\ufffd]")
