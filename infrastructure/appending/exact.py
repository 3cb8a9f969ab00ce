"""Batches whose versions are all exact: the log's indexes decide them, so nothing is read first.

That is most batches. Where an index, the head or a guard objects, the batch is sorted instead.
"""

from collections.abc import Sequence
from typing import NamedTuple

from refold.domain.ports import Appended, Command, Outcome, Tracked


class Exact(NamedTuple):
    """What has to be there (a stream and a version each), and the new events behind it.

    A row is stream, version, type, schema, data, metadata, command id and number. Trackings are
    each of another application.
    """

    guards: list[tuple[str, int]]
    rows: list[tuple[object, ...]]
    trackings: list[Tracked]


def exact(commands: Sequence[Command]) -> Exact | None:
    """Return the rows that `commands` make, None when a command needs more than its versions."""
    guards: list[tuple[str, int]] = []
    rows: list[tuple[object, ...]] = []
    ends: dict[str, int] = {}
    tracked: list[Tracked] = []
    for id, writes, takes, releases, keys, trackings in commands:
        if takes or releases or keys:
            return None
        if trackings:
            tracked += [Tracked(*each, id) for each in trackings]
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
    if len(tracked) > 1 and len({each.application for each in tracked}) < len(tracked):
        return None
    return Exact(guards, rows, tracked)


def outcomes(commands: Sequence[Command], partition: int, position: int) -> list[Outcome]:
    """Return what came of exact `commands` that went in behind `position`."""
    found: list[Outcome] = []
    for command in commands:
        if not command.writes:
            found.append(Appended(partition, position, "", 0))
            continue
        for write in command.writes:
            position += len(write.events)
        stream, expected, events = command.writes[-1]
        found.append(Appended(partition, position, stream, (expected or 0) + len(events)))
    return found
