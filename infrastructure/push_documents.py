"""Push documents without what is big in them: that is kept as blobs, so that events stay small.

A string of more than 8 KiB stands as null in the document, and its SHA-256 under its JSON pointer.
A list or object that is still larger than 64 KiB stands there empty, and its blob is its JSON.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any, Final

import msgspec

from refold.infrastructure.codec import DEEPEST, NotStorable, canonical, parse

LONGEST: Final = 8 * 1024
"""Bytes of a string, in UTF-8, that stays in its document."""

LARGEST: Final = 64 * 1024
"""Bytes of a list or object, in canonical JSON without what was cut out, that stays there."""

STAYING: Final = frozenset({"", "/attestation", "/attestation/reviewer", "/rejection"})
"""Objects that stay, however large: `projections.pushes` reads what is in them."""

Json = dict[str, Any]


def cut(document: Mapping[str, Any]) -> tuple[Json, dict[str, str], list[bytes]]:
    """Return `document` without what is big in it, what was cut out where, and the bytes of that.

    The bytes of a string are UTF-8 with surrogatepass; each content comes once. `document` itself
    is not changed. Raises `NotStorable` when it is nested deeper than an event may be, or a key is
    no text.
    """
    found: dict[str, bytes] = {}
    small = _without_texts(dict(document), "", 1, found)
    small = _without_parts(document, small, "", found)
    blobs = _digests(found)
    return small, blobs, list({blobs[at]: content for at, content in found.items()}.values())


def forms(document: Mapping[str, Any]) -> list[tuple[Json, dict[str, str]]]:
    """Return the forms in which events hold a document: as `cut` has it, and older ones.

    In those only strings were cut out.
    """
    found: dict[str, bytes] = {}
    older = _without_texts(dict(document), "", 1, found)
    newest, blobs, _ = cut(document)
    return [(newest, blobs)] if newest == older else [(newest, blobs), (older, _digests(found))]


def restore(
    document: Mapping[str, Any],
    blobs: Mapping[str, str],
    get: Callable[[str], Iterable[bytes]],
) -> Json:
    """Return `document` with what was cut out put back; `get` gives bytes by their SHA-256.

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
        key = _key(place, last)
        content = b"".join(get(digest))
        is_text = place[key] is None
        place[key] = content.decode("utf-8", "surrogatepass") if is_text else parse(content)
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


def _without_texts(value: Any, pointer: str, depth: int, found: dict[str, bytes]) -> Any:
    """Return `value` without its big strings, whose bytes go to `found`."""
    if depth > DEEPEST:
        raise NotStorable(f"a document is nested deeper than {DEEPEST} levels")
    match value:
        case str() if (content := _big(value)) is not None:
            found[pointer] = content
            return None
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise NotStorable("a key of a document is not a text")
            return {
                key: _without_texts(inner, f"{pointer}/{_escaped(key)}", depth + 1, found)
                for key, inner in value.items()
            }
        case list() | tuple():
            return [
                _without_texts(inner, f"{pointer}/{n}", depth + 1, found)
                for n, inner in enumerate(value)
            ]
        case _:
            return value


def _without_parts(whole: Any, small: Any, pointer: str, found: dict[str, bytes]) -> Any:
    """Return `small`, which is `whole` without big strings, without its large parts.

    The innermost go first. Their bytes go to `found`, in place of what was cut out of them.
    """
    if not isinstance(small, dict | list) or _fits(small):
        return small
    rest: Any
    if isinstance(small, dict):
        rest = {
            key: _without_parts(whole[key], inner, f"{pointer}/{_escaped(key)}", found)
            for key, inner in small.items()
        }
    else:
        rest = [
            _without_parts(whole[n], inner, f"{pointer}/{n}", found)
            for n, inner in enumerate(small)
        ]
    if pointer in STAYING or _fits(rest):
        return rest
    for inside in [each for each in found if each.startswith(f"{pointer}/")]:
        del found[inside]
    found[pointer] = canonical(whole)
    return type(rest)()


def _fits(part: dict[str, Any] | list[Any]) -> bool:
    """Tell whether a part stays; what has no JSON does, and is refused where it is written."""
    with suppress(TypeError, ValueError):
        if len(msgspec.json.encode(part)) <= LARGEST // 2:  # most are, and this takes a tenth
            return True
    try:
        return len(canonical(part)) <= LARGEST
    except NotStorable:
        return True


def _digests(found: Mapping[str, bytes]) -> dict[str, str]:
    return {pointer: sha256(content).hexdigest() for pointer, content in found.items()}


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
