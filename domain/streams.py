"""Names of streams: `kind-key` or `kind-key/part/…`, and what they tell.

The *kind* is the text before the first `-`, plus the first part's name if there is one: `file`,
`file/tag_vote`. The *family* is everything before the first `/`: a file and all its votes.
"""

from functools import lru_cache
from hashlib import sha256
from typing import Final
from urllib.parse import unquote
from zlib import crc32

from refold.domain.texts import check_text

LONGEST_PART: Final = 256
"""Bytes of one part once encoded; a longer one is replaced by `~` and its SHA-256."""


def name(kind: str, key: str, *parts: str) -> str:
    """Return the stream of `kind` for `key`: `name("file/tag_vote", sha, tag, voter)`.

    Raises `IllFormedText` when a part holds NUL or a lone surrogate.
    """
    root, _, branch = kind.partition("/")
    tail = "".join(f"/{part(text)}" for text in parts)
    return f"{root}-{part(key)}/{branch}{tail}" if branch else f"{root}-{part(key)}"


def part(text: str) -> str:
    """Return `text` as one part of a stream name: never with a `/`, at most 256 bytes."""
    check_text("id", text)
    encoded = text.replace("%", "%25").replace("/", "%2F")
    if encoded.startswith("~"):
        encoded = "%7E" + encoded[1:]
    if len(encoded.encode()) > LONGEST_PART:
        return "~" + sha256(text.encode()).hexdigest()
    return encoded


def text(part: str) -> str | None:
    """Return the text that a part of a stream's name is of, None where it is only its hash."""
    return None if part.startswith("~") else unquote(part, errors="strict")


def kind(stream: str) -> str:
    """Return the kind of `stream`: `file/tag_vote` for `file-ab/tag_vote/pdf/ada`."""
    root, _, branch = stream.partition("/")
    return root.partition("-")[0] + ("/" + branch.partition("/")[0] if branch else "")


def family(stream: str) -> str:
    """Return the text before the first `/`."""
    return stream.partition("/")[0]


@lru_cache(maxsize=1)  # several tables ask in turn
def family_key(stream: str) -> str:
    """Return the key of the family as it stands in the name (encoded): `ab` for `file-ab/…`."""
    return stream.partition("/")[0].partition("-")[2]


def partition(stream: str, partitions: int) -> int:
    """Return the partition, 0-based, that keeps `stream`; a family is never split."""
    return crc32(family(stream).encode()) % partitions


def share(stream: str, partitions: int, parts: int) -> int:
    """Return which of so many `parts` of its partition has `stream`, from 0; evenly."""
    return crc32(family(stream).encode()) // partitions % parts
