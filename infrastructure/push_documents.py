"""Push documents without their big strings: those are kept as blobs, so that events stay small.

A string of more than 8 KiB stands as null in the document, and its SHA-256 under its JSON pointer.
"""

from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Any, Final

from refold.infrastructure.codec import DEEPEST, NotStorable

LONGEST: Final = 8 * 1024
"""Bytes of a string, in UTF-8, that stays in its document."""

Json = dict[str, Any]


def cut(document: Mapping[str, Any]) -> tuple[Json, dict[str, str], list[bytes]]:
    """Return `document` without its big strings, what was cut out where, and their bytes.

    The bytes are UTF-8 with surrogatepass, each content once. `document` itself is not changed.
    Raises `NotStorable` when it is nested deeper than an event may be, or a key is no text.
    """
    blobs: dict[str, str] = {}
    contents: dict[str, bytes] = {}

    def without(value: Any, pointer: str, depth: int) -> Any:
        if depth > DEEPEST:
            raise NotStorable(f"a document is nested deeper than {DEEPEST} levels")
        match value:
            case str() if (content := _big(value)) is not None:
                blobs[pointer] = sha256(content).hexdigest()
                contents[blobs[pointer]] = content
                return None
            case dict():
                if not all(isinstance(key, str) for key in value):
                    raise NotStorable("a key of a document is not a text")
                return {
                    key: without(inner, f"{pointer}/{_escaped(key)}", depth + 1)
                    for key, inner in value.items()
                }
            case list() | tuple():
                return [
                    without(inner, f"{pointer}/{n}", depth + 1) for n, inner in enumerate(value)
                ]
            case _:
                return value

    return without(dict(document), "", 1), blobs, list(contents.values())


def restore(
    document: Mapping[str, Any],
    blobs: Mapping[str, str],
    get: Callable[[str], Iterable[bytes]],
) -> Json:
    """Return `document` with its strings put back; `get` gives a content's bytes by its SHA-256.

    `document` itself is not changed.
    """
    whole = dict(document)
    copied: set[tuple[str, ...]] = set()
    for pointer, digest in blobs.items():
        place: Any = whole
        *way, last = pointer.split("/")[1:]
        for depth, token in enumerate(way, 1):
            key = _key(place, token)
            if tuple(way[:depth]) not in copied:
                copied.add(tuple(way[:depth]))
                place[key] = place[key].copy()
            place = place[key]
        place[_key(place, last)] = b"".join(get(digest)).decode("utf-8", "surrogatepass")
    return whole


def same(one: object, other: object) -> bool:
    """Tell whether two JSON values are equal: 1 and 1.0 are, 1 and true are not."""
    match one, other:
        case (bool(), _) | (_, bool()):
            return one is other
        case dict(), dict():
            return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
        case list(), list():
            return len(one) == len(other) and all(map(same, one, other))
        case _:
            return one == other


def below(field: str, blobs: Mapping[str, str]) -> Json:
    """Return those of `blobs` that were cut out of a top-level field."""
    return {
        pointer: digest
        for pointer, digest in blobs.items()
        if pointer.split("/")[1] == _escaped(field)
    }


def _big(text: str) -> bytes | None:
    """Return the bytes of a text that is cut out, None of one that stays."""
    if len(text) * 4 <= LONGEST:  # no character has more bytes
        return None
    content = text.encode("utf-8", "surrogatepass")
    return content if len(content) > LONGEST else None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _key(place: object, token: str) -> Any:
    """Return what a token of a JSON pointer names in an array or object."""
    return int(token) if isinstance(place, list) else token.replace("~1", "/").replace("~0", "~")
