"""What texts may be: ids, names, tags and sums of commands, parts of stream names; and JSON."""

import json
import re
from typing import Final

from refold.domain.errors import Refused

LONGEST: Final = 256
"""Characters of a name or tag in a command."""

LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Half of a character, which Python's texts may hold and UTF-8 cannot."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f]")


class IllFormedText(Refused):
    """A text holds what no id, name or tag may hold."""


class NotASha256(Refused):
    """A SHA-256 is named by its 64 lower-case hex digits."""


def check_text(what: str, text: str) -> None:
    """Raise `IllFormedText` when `text` holds NUL or a lone surrogate."""
    if "\0" in text:
        raise IllFormedText(f"{what} {text!r} holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise IllFormedText(f"{what} {text!r} holds a lone surrogate") from error


def check_word(what: str, text: str) -> None:
    """Raise `IllFormedText` unless `text` has 1 to 256 characters, none of them a control."""
    check_text(what, text)
    if not 1 <= len(text) <= LONGEST:
        raise IllFormedText(f"{what} {text[:40]!r} has {len(text)} characters, not 1 to {LONGEST}")
    if _CONTROL.search(text):
        raise IllFormedText(f"{what} {text!r} holds a control character")


def check_sha256(sha256: str) -> None:
    """Raise `NotASha256` unless `sha256` is 64 lower-case hex digits."""
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise NotASha256(f"{sha256[:80]!r} is not a SHA-256 of 64 lower-case hex digits")


def canonical_json(value: object) -> str:
    """Return the one JSON text of `value`: keys sorted, no white space, lone surrogates escaped.

    Raises what `json.dumps` raises for what has no JSON.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return LONE_SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
