"""Real commands for the fault tests, and logs opened without the rest of a store."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from refold.domain import file, streams, tag_vote
from refold.domain.ports import Claim, Command, Log, Write
from refold.infrastructure import address
from refold.infrastructure.codec import EVENTS, Metadata, encode_metadata
from refold.infrastructure.postgres.log import PostgresLog
from refold.infrastructure.sqlite.log import SqliteLog

METADATA: Final = encode_metadata(Metadata("ada"))
FLUSH_SECONDS: Final = 0.002
"""What a disk takes at least: in memory, services would write more than a test has time for."""
SESSION: Final = {"sid": "canary-of-a-session-id", "body": '{"canary": "in-a-session-body"}'}
"""What nobody may be told: conftest searches for the word."""


def open_log(url: str) -> Log:
    """Return the log at `url` alone: a process that only appends starts three times as fast."""
    match address.parse(url):
        case address.Sqlite(path):
            return SqliteLog(path)
        case address.Postgres(server, schema):
            return PostgresLog(server, schema)
        case other:
            raise ValueError(other.public)


def command(
    id: str, stream: str, expected: int | None, *values: object, takes: Sequence[Claim] = ()
) -> Command:
    """Return a command that writes `values` to one stream."""
    events = tuple(EVENTS.encode(value, METADATA) for value in values)
    return Command(id, (Write(stream, expected, events),), takes=tuple(takes))


def registration(id: str, key: str, *, expected: int | None = 0) -> Command:
    """Return a command that registers the file `key` under a name that can be searched."""
    value = file.Registered(key, "cid", f"holiday {key}", "jpg", "2025-01-02T03:04:05Z")
    return command(id, streams.name("file", key), expected, value)


def many(events: int) -> Iterator[Command]:
    """Yield commands of one event each, three for each file: it, its tag and a vote on that."""
    return islice(_endless(), events)


def _endless() -> Iterator[Command]:
    number = 0
    while True:
        key = f"{number:08}"
        stream = streams.name("file", key)
        vote = tag_vote.Cast("pdf", "bo", 1, 1)
        yield registration(f"{key}/registered", key)
        yield command(f"{key}/tag", stream, 1, file.TagAdded("pdf", 1))
        yield command(f"{key}/vote", streams.name("file/tag_vote", key, "pdf", "bo"), 0, vote)
        number += 1
