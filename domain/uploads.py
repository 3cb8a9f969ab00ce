"""What all uploads have in common: ids, the content that they name, and of which type it is."""

import re
from typing import Final
from urllib.parse import unquote

from refold.domain import streams
from refold.domain.errors import BadInput
from refold.domain.texts import check_word

CONTENT: Final = "content"
"""What the bytes of an upload are called among the blobs of its events."""

_WORD: Final = "[A-Za-z0-9!#$&^_.+-]{1,127}"
_MIME_TYPE: Final = re.compile(f"{_WORD}/{_WORD} ?(;[ -~]*)?")  # RFC 6838


class InvalidId(BadInput):
    """The id of an upload has at most 256 bytes as a part of its stream's name."""


class InvalidMimeType(BadInput):
    """A MIME type is like image/png, with or without parameters."""


def check_id(what: str, id: str) -> None:
    """Raise `IllFormedText` or `InvalidId` unless an upload may have `id`."""
    check_word(what, id)
    if streams.part(id).startswith("~"):
        raise InvalidId(f"{what} {id[:40]!r} has more than {streams.LONGEST_PART} bytes")


def id_of(stream: str) -> str:
    """Return the id that `check_id` let pass, from the name of its stream."""
    return unquote(streams.family_key(stream))


def check_mime_type(text: str) -> None:
    """Raise `InvalidMimeType` unless `text` can be sent as a content type."""
    if len(text) > 256 or not _MIME_TYPE.fullmatch(text):
        raise InvalidMimeType(f"{text[:40]!r} is not a MIME type such as image/png")
