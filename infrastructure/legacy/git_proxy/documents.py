"""A document of git-proxy, the same whichever of its databases it comes from.

Those write times, numbers and ids each in its own way; here they are what git-proxy itself sees.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from math import isfinite
from typing import Any, Final, NamedTuple

from refold.domain.errors import Refused
from refold.infrastructure.codec import DEEPEST, NotStorable, canonical, written
from refold.infrastructure.legacy.importing import Refusal

COLLECTIONS: Final = ("users", "repos", "pushes", "user_session", "migrations")
"""What git-proxy keeps, in the order in which it is read: who is referred to comes first."""

Json = dict[str, Any]


class Document(NamedTuple):
    """A document as git-proxy sees it, and where it stands.

    `id` is its `_id`, an ObjectId as 24 hex digits; `data` is all the rest, times as ISO text with
    milliseconds, whole numbers as integers, a push with its `lastStep`. Parts of `data` may be
    shared: change nothing in it. `line` is 1-based, a row number for a table. `digest` is the
    SHA-256 of the canonical JSON of `data`, in hex, and `size` counts the bytes of that.
    """

    collection: str
    id: str
    data: Json
    file: str
    line: int
    digest: str
    size: int = 0


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file or table holds; `records` is how many documents and refusals come out of it.

    `lines` are those that are not blank, in an array its items, in a table its rows. `format` is
    nedb, mongoexport or postgresql. In NeDB the last line of an `_id` counts, the others are
    superseded; elsewhere an `_id` stands once, and what repeats it is refused.
    """

    file: str
    collection: str
    format: str
    lines: int = 0
    document_lines: int = 0
    documents: int = 0
    superseded_lines: int = 0
    deleted_lines: int = 0
    index_created: int = 0
    index_removed: int = 0
    repeated: int = 0
    objects_without_id: int = 0
    unparsable_by_kind: Mapping[str, int] = field(default_factory=dict)
    lines_with_raw_separators: int = 0

    @property
    def unparsable(self) -> int:
        """Return how many lines are no JSON object in UTF-8."""
        return sum(self.unparsable_by_kind.values())

    @property
    def unparsable_rate(self) -> float:
        """Return the share of such lines, 0 to 1."""
        return self.unparsable / self.lines if self.lines else 0.0

    @property
    def records(self) -> int:
        """Return how many documents and refusals come out of this file."""
        return self.documents + self.repeated + self.objects_without_id + self.unparsable


def document(collection: str, value: Json, file: str, line: int) -> Document | Refusal:
    """Return the document that a parsed one means, or why it cannot be taken.

    The key of a refusal is its `_id`, empty where that cannot be told.
    """
    key = identity(value.get("_id"))
    if key is None:
        absent = value.get("_id") is None
        return Refusal("", file, line, NO_ID if absent else "the _id is no text and no ObjectId")
    try:
        data: Json = {name: part for name, part in value.items() if name != "_id"}
        as_it_is = None
        with suppress(NotStorable):  # it may be less deep without the marks
            as_it_is = written(data)
        if as_it_is is not None and b'"$' not in as_it_is.text and "_lastStepIndex" not in data:
            data, text = as_it_is, as_it_is.text
        else:
            data = plain(data)
            if collection == "pushes":
                data = _with_last_step(data)
            text = canonical(data)
    except Refused as error:
        return Refusal(key, file, line, str(error))
    return Document(collection, key, data, file, line, sha256(text).hexdigest(), len(text))


NO_ID: Final = "the document has no _id"


def identity(written: object) -> str | None:
    """Return an `_id` as opaque text, an ObjectId as its hex digits; None for what is neither."""
    match written:
        case str():
            return written or None
        case {"$oid": str(digits), **rest} if not rest and _OBJECT_ID.fullmatch(digits):
            return digits.lower()
        case _:
            return None


_OBJECT_ID: Final = re.compile("[0-9a-fA-F]{24}")


class NotGitProxys(Refused):
    """A document holds what git-proxy does not write, or what nobody can make sense of."""


def plain(value: object, depth: int = 1) -> Any:
    """Return a value without NeDB's and MongoDB's marks. Raises `NotGitProxys`."""
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, dict):
        for name in value:
            if name.startswith("$"):
                return _marked(value)
    elif not isinstance(value, list):
        return value
    if value and depth >= DEEPEST:
        raise NotGitProxys(f"the document is nested deeper than {DEEPEST} levels")
    if isinstance(value, list):
        return [part if type(part) in _PLAIN else plain(part, depth + 1) for part in value]
    return {
        name: part if type(part) in _PLAIN else plain(part, depth + 1)
        for name, part in value.items()
    }


_PLAIN: Final = frozenset({str, int, bool, type(None)})


def _number(number: float) -> int | float:
    """Return a number of JavaScript, which has no other ones: the digits that it would write."""
    if number.is_integer() and abs(number) < 1e21:
        return int(Decimal(repr(number)))
    return number


def _marked(value: Json) -> Any:
    """Return what an object with a mark such as `$$date` stands for."""
    [(mark, written)] = value.items() if len(value) == 1 else [("", None)]
    match mark, written:
        case "$$date", int():
            return time(written)
        case "$date", _:
            return time(milliseconds(written))
        case "$oid", str() if _OBJECT_ID.fullmatch(written):
            return written.lower()
        case (("$numberInt" | "$numberLong"), str()) if _DIGITS.fullmatch(written):
            return int(written)
        case "$numberDouble", str() if _DOUBLE.fullmatch(written) and isfinite(float(written)):
            return _number(float(written))
        case _:
            names = ", ".join(repr(name[:40]) for name in value if name.startswith("$"))
            raise NotGitProxys(f"the document holds {names} as git-proxy does not write it")


_DIGITS: Final = re.compile("-?[0-9]{1,19}")
_DOUBLE: Final = re.compile(r"-?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]{1,5})?")

# --- times --------------------------------------------------------------------------


def time(since: int) -> str:
    """Return milliseconds since 1970 UTC as JavaScript's ISO text. Raises `NotGitProxys`."""
    if isinstance(since, bool) or abs(since) > _LAST_TIME:
        raise NotGitProxys("the document holds a date that is no time")
    days, rest = divmod(since, 86_400_000)
    cycles, days = divmod(days, _CYCLE)  # Python's years end at 9999
    day = date(1970, 1, 1) + timedelta(days)
    year = day.year + 400 * cycles
    shown = f"{year:04}" if 0 <= year <= 9999 else f"{'-' if year < 0 else '+'}{abs(year):06}"
    seconds, fraction = divmod(rest, 1_000)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    return f"{shown}-{day:%m-%d}T{hour:02}:{minute:02}:{second:02}.{fraction:03}Z"


_LAST_TIME: Final = 8_640_000_000_000_000
_CYCLE: Final = 146_097
"""Days after which the calendar repeats, 400 years."""


def milliseconds(written: object) -> int:
    """Return the milliseconds since 1970 UTC of a `$date`: a text, a number, or a marked one.

    Raises `NotGitProxys`.
    """
    match written:
        case int():
            return written
        case {"$numberLong": str(digits), **rest} if not rest and _DIGITS.fullmatch(digits):
            return int(digits)
        case str():
            try:
                since = datetime.fromisoformat(written) - _EPOCH
            except (ValueError, TypeError, OverflowError):  # TypeError: it names no offset
                raise NotGitProxys("the document holds a $date that is no time") from None
            return since // timedelta(milliseconds=1)
        case _:
            raise NotGitProxys("the document holds a $date that is no time")


_EPOCH: Final = datetime.fromisoformat("1970-01-01T00:00:00Z")

# --- pushes ---------------------------------------------------------------------------


def _with_last_step(data: Json) -> Json:
    """Return a push as git-proxy shows it: newer ones keep the last step by its place alone."""
    if "_lastStepIndex" not in data:
        return data
    index, steps = data["_lastStepIndex"], data.get("steps")
    whole = {name: part for name, part in data.items() if name != "_lastStepIndex"}
    if "lastStep" in data:
        return whole
    if type(index) is not int or not isinstance(steps, list) or not 0 <= index < len(steps):
        raise NotGitProxys("_lastStepIndex names no step of the push")
    return whole | {"lastStep": steps[index]}
