"""Aggregates of the eventsourcing library as streams: their names, versions and ids, both ways.

Each has a stream of its own. Versions of a stream count from 1; where the library counts an
aggregate's from 0, the metadata of each event says so. They also hold the id where the name of the
stream does not tell it: a long one, and a text that looks like a UUID.
"""

import json
import re
from functools import lru_cache
from typing import Final, NamedTuple
from uuid import UUID

from refold.domain import streams
from refold.domain.ports import NewEvent, Recorded
from refold.domain.texts import canonical_json, check_text

KIND: Final = "aggregate"

SCHEMA: Final = 1
"""What the library stores under a topic is its own affair; refold keeps the bytes as they are."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PLAIN: Final = b"{}"


class Origin(NamedTuple):
    """Whose event it is, and which of its aggregate's."""

    id: UUID | str
    version: int


def stream(id: UUID | str) -> str:
    """Return the stream of the aggregate `id`. Raises `IllFormedText`."""
    if isinstance(id, UUID):  # nothing of its text has to be escaped
        return f"{KIND}-{id}"
    return streams.name(KIND, id)


def event(type: str, data: bytes, metadata: bytes) -> NewEvent:
    """Return what is kept of an event, its bytes as they are. Raises `IllFormedText`."""
    check_text("topic", type)
    return NewEvent(type, SCHEMA, data, metadata)


def metadata(id: UUID | str, start: int) -> bytes:
    """Return the metadata of events of an aggregate whose versions count from `start`, 0 or 1."""
    said: dict[str, str | int] = {} if start else {"start": 0}
    if isinstance(id, str) and (_UUID.fullmatch(id) or streams.part(id).startswith("~")):
        said["id"] = id
    return canonical_json(said).encode() if said else _PLAIN


@lru_cache(maxsize=1_000)  # events of an aggregate have the same
def start(metadata: bytes) -> int:
    """Return from which version on the events of an aggregate count: 0 or 1."""
    return 1 if metadata == _PLAIN else int(json.loads(metadata).get("start", 1))


def version(record: Recorded) -> int:
    """Return which of its aggregate's events a record is."""
    return record.version - 1 + start(record.metadata)


def origin(record: Recorded) -> Origin:
    """Return whose event a record is."""
    said = {} if record.metadata == _PLAIN else json.loads(record.metadata)
    if "id" in said:
        return Origin(said["id"], version(record))
    text = streams.text(streams.family_key(record.stream)) or ""
    return Origin(UUID(text) if _UUID.fullmatch(text) else text, version(record))
