"""Documents written as git-proxy keeps them: NeDB files, and lines that mongoimport takes.

The files hold password hashes and sessions: only their owner can read them.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TextIO

from refold.domain.errors import BadInput, Refused
from refold.infrastructure.codec import canonical
from refold.infrastructure.legacy.git_proxy.documents import (
    COLLECTIONS,
    Document,
    Json,
    NotGitProxys,
    milliseconds,
    time,
)

INDEXES: Final = {
    "users": {"username": True, "email": True},
    "repos": {"url": True, "name": False},
    "pushes": {"id": True},
    "migrations": {"id": True},
}
"""The fields that NeDB indexes in each of its files, and whether a value may stand once only."""


class NotLoadable(Refused):
    """git-proxy would not start with such documents, or would not see what they say."""


def write_nedb(folder: Path, documents: Iterable[Document]) -> dict[str, int]:
    """Write NeDB's files into `folder`, each whole or not at all; return how many are in each.

    Raises `NotLoadable` for what NeDB would not load: a session, for which it has no file, and
    users, repos or pushes that share what has to be unique, an absent e-mail included. Raises
    `BadInput` when a file cannot be written.
    """
    holders = _Holders()
    names = {collection: f"{collection}.db" for collection in INDEXES}
    with _files(folder, names) as files:
        counts = dict.fromkeys(names, 0)
        for each in documents:
            if each.collection not in INDEXES:
                raise NotLoadable(f"NeDB has no file for {each.collection}; write it for MongoDB")
            holders.add(each)
            data = _written(each.data, lambda number: number)
            files[each.collection].write(_line({**data, "_id": each.id}))
            counts[each.collection] += 1
        for collection, fields in INDEXES.items():
            for name, unique in fields.items():
                index = {"fieldName": name, "unique": unique, "sparse": False}
                files[collection].write(_line({"$$indexCreated": index}))
    return counts


def write_mongoexport(folder: Path, documents: Iterable[Document]) -> dict[str, int]:
    """Write JSON lines in relaxed mode into `folder`, each file whole or not at all.

    Returns how many are in each. Raises `NotLoadable` for an `_id` that stands twice or a number
    that BSON cannot hold, `BadInput` when a file cannot be written.
    """
    ids: set[tuple[str, str]] = set()
    names = {collection: f"{collection}.json" for collection in COLLECTIONS}
    with _files(folder, names) as files:
        counts = dict.fromkeys(names, 0)
        for each in documents:
            if (each.collection, each.id) in ids:
                raise NotLoadable(f"the _id {each.id!r} stands twice in {each.collection}")
            ids.add((each.collection, each.id))
            files[each.collection].write(_line(_exported(each)))
            counts[each.collection] += 1
    return counts


class _Holders:
    """Who has which value in the fields in which NeDB takes a value once only."""

    def __init__(self) -> None:
        self._holders: dict[tuple[str, str, bytes | None], str] = {}

    def add(self, each: Document) -> None:
        """Note the values of a document. Raises `NotLoadable` when another one has them."""
        values = {**each.data, "_id": each.id}
        for name in ["_id", *(name for name, once in INDEXES[each.collection].items() if once)]:
            place = (each.collection, name, canonical(values[name]) if name in values else None)
            if other := self._holders.get(place):
                raise NotLoadable(
                    f"{each.collection} {other!r} and {each.id!r} have the same {name},"
                    " which NeDB takes once only"
                )
            self._holders[place] = each.id


def _exported(each: Document) -> Json:
    data = _written(each.data, _relaxed)
    if each.collection == "user_session":  # whose ids are texts and whose times are dates
        dates = {name: {"$date": data[name]} for name in _DATES if _is_date(data.get(name))}
        return {"_id": each.id, **data, **dates}
    return {"_id": {"$oid": each.id} if _OBJECT_ID.fullmatch(each.id) else each.id, **data}


_OBJECT_ID: Final = re.compile("[0-9a-f]{24}")
_DATES: Final = ("expires", "lastModified")


def _is_date(value: object) -> bool:
    """Tell whether a value is read again as it is when it is written as a date."""
    try:
        return isinstance(value, str) and time(milliseconds(value)) == value
    except NotGitProxys:
        return False


def _relaxed(number: int) -> int | float:
    """Return a number so that MongoDB keeps it as git-proxy does: beyond 32 bits as a double."""
    if abs(number) < 1 << 31:
        return number
    if abs(number) < 1e21 and int(Decimal(repr(float(number)))) == number:
        return float(number)
    if abs(number) < 1 << 63:
        return number
    raise NotLoadable(f"the number {str(number)[:40]} does not fit into 64 bits")


def _written(value: Any, whole: Callable[[int], int | float]) -> Any:
    """Return a value with its whole numbers changed. Raises `NotLoadable` for a `$` in a name."""
    match value:
        case bool():
            return value
        case int():
            return whole(value)
        case dict():
            if mark := next((name for name in value if name.startswith("$")), None):
                raise NotLoadable(f"the field {mark[:40]!r} would be taken for a mark of MongoDB")
            return {name: _written(part, whole) for name, part in value.items()}
        case list() | tuple():
            return [_written(part, whole) for part in value]
        case _:
            return value


def _line(value: Json) -> str:
    """Return one line. NeDB ends lines at any separator of Unicode, so that none may be in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


_ESCAPED: Final = re.compile("[\x85\u2028\u2029\ud800-\udfff]")


@contextmanager
def _files(folder: Path, names: dict[str, str]) -> Iterator[dict[str, TextIO]]:
    """Open files beside those that they replace when all went well."""
    unfinished = {name: folder / f"{name}.{os.getpid()}.part" for name in names.values()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            yield {
                collection: stack.enter_context(
                    open(unfinished[name], "x", encoding="utf-8", newline="", opener=_private)
                )
                for collection, name in names.items()
            }
        for name, path in unfinished.items():
            path.replace(folder / name)
    except OSError as error:
        raise BadInput(f"{folder} cannot be written to: {error.strerror}") from error
    finally:
        for path in unfinished.values():
            if path.exists():
                path.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, mode=0o600)
