"""Addresses that let somebody without keys read or write one blob for a short time."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import quote

from refold.domain.errors import BadInput
from refold.domain.texts import check_word

LONGEST: Final = 900
"""Seconds that an address may be good for."""


@dataclass(frozen=True, slots=True)
class PresignedPut:
    """Where to PUT a content, and the headers that have to come with it."""

    url: str = field(repr=False)
    headers: Mapping[str, str]


class PresignedBlobs(Protocol):
    """Blobs that others can reach without passing through us.

    An address is a secret: whoever has it can use it until its seconds (1 to 900) are over. Making
    one asks nobody, so the blob may be there or not. Raises `NotASha256`, and `BadInput` for
    anything else that cannot be signed.
    """

    def presigned_get(
        self,
        sha256: str,
        *,
        content_type: str | None = None,
        filename: str | None = None,
        seconds: int | None = None,
    ) -> str:
        """Return a url to GET the content from, always as something to save, not to show.

        The answer has `content_type`, by default that of plain bytes, whatever was put.
        """
        ...

    def presigned_put(self, sha256: str, size: int, seconds: int | None = None) -> PresignedPut:
        """Return how to PUT the content of `size` bytes; the server refuses any other content.

        A client's word that it is done is no proof: `head` tells. Raises `TooLarge` for more than
        uploads may have, or than one PUT can take.
        """
        ...


def check_seconds(seconds: int) -> int:
    """Return `seconds`. Raises `BadInput` unless they are 1 to 900."""
    if not 1 <= seconds <= LONGEST:
        raise BadInput(f"a presigned address is good for 1 to {LONGEST} seconds, not {seconds}")
    return seconds


def media_type(content_type: str | None) -> str:
    """Return the type that is forced on an answer. Raises `BadInput` for what is none."""
    if content_type is None:
        return "application/octet-stream"
    word = "[A-Za-z0-9!#$&^_.+-]{1,127}"
    if not re.fullmatch(f"{word}/{word}(; ?charset={word})?", content_type):
        raise BadInput(f"{content_type!r} is not a media type")
    return content_type


def disposition(filename: str | None) -> str:
    """Return the header of an answer that is to be saved, as `filename` if there is one."""
    if filename is None:
        return "attachment"
    check_word("file name", filename)
    return f"attachment; filename*=UTF-8''{quote(filename, safe='')}"  # RFC 6266
