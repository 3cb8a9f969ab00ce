"""What texts may be: ids, names and tags of commands, and parts of stream names."""

from typing import Final

from refold.domain.errors import Refused

LONGEST: Final = 256
"""Characters of a name or tag in a command."""


class IllFormedText(Refused):
    """A text holds what no id, name or tag may hold."""


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
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise IllFormedText(f"{what} {text!r} holds a control character")
