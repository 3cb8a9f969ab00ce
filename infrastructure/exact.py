"""Batches whose versions are all exact: the log's indexes decide them, so nothing is read first.

That is most batches. Where an index, the head or a guard objects, the batch is sorted instead.
"""

from collections.abc import Sequence
from typing import NamedTuple

from refold.domain.ports import Appended, Command, Outcome


class Exact(NamedTuple):
    """What has to be there (a stream and a version each), and the new events behind it.

    A row is stream, version, type, schema, data, metadata, command id and number.
    """

    guards: list[tuple[str, int]]
    rows: list[tuple[object, ...]]


def exact(commands: Sequence[Command]) -> Exact | None:
    """Return the rows that `commands` make, None when a command needs more than its versions."""
    guards: list[tuple[str, int]] = []
    rows: list[tuple[object, ...]] = []
    ends: dict[str, int] = {}
    for id, writes, *more in commands:
        if any(more):
            return None
        number = 0
        for stream, version, events in writes:
            if version is None:
                return None
            if version and ends.get(stream) != version:
                guards.append((stream, version))
            for event in events:
                version += 1
                rows.append((stream, version, *event, id, number))
                number += 1
            ends[stream] = version
    return Exact(guards, rows)


def outcomes(commands: Sequence[Command], partition: int, position: int) -> list[Outcome]:
    """Return what came of exact `commands` that went in behind `position`."""
    found: list[Outcome] = []
    for command in commands:
        for write in command.writes:
            position += len(write.events)
        stream, expected, events = command.writes[-1]
        found.append(Appended(partition, position, stream, (expected or 0) + len(events)))
    return found
