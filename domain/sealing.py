"""Sealed texts: facts kept under a key of their own, so that they can be forgotten.

An event type marks such a field, and names the key in its field `subject`. Its value is a text
until the vault has sealed it, and ERASED once the key was destroyed: with an event that marks its
subject as one that it forgets.
"""

from dataclasses import dataclass, fields
from enum import Enum
from functools import cache
from typing import Final

MARK: Final = "sealed"
SECRET: Final = {MARK: "secret"}  # stays sealed when an event is read: asked for by few
PERSONAL: Final = {MARK: "personal"}  # is opened when an event is read: tables show it
FORGOTTEN: Final = {"forgotten": True}  # of a subject: its key is destroyed with the event


@dataclass(frozen=True, slots=True)
class Sealed:
    """A text that only the vault can open, and only where it was sealed.

    `place` is where it stands: the stream, the command's id, the event's number in it, the field.
    """

    subject: str
    place: tuple[str, str, int, str]
    box: str


class Erased(Enum):
    """What is left of a text whose key was destroyed."""

    ERASED = "erased"


ERASED: Final = Erased.ERASED

Text = str | Sealed | Erased
"""What a marked field holds."""


@cache
def marks(event: type) -> dict[str, str]:
    """Return the marked fields of an event type, each with what it is."""
    return {each.name: each.metadata[MARK] for each in fields(event) if MARK in each.metadata}


def forgotten(event: object) -> list[str]:
    """Return the subjects whose keys are destroyed with `event`."""
    cls: type = type(event)
    return [getattr(event, name) for name in _forgotten(cls)]


@cache
def _forgotten(event: type) -> list[str]:
    return [each.name for each in fields(event) if "forgotten" in each.metadata]
