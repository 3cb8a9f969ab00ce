"""The log in this process's memory: gone with the process, and otherwise like the others."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import attrgetter
from threading import Lock
from time import time_ns
from typing import Final
from uuid import uuid4

from refold.domain import streams
from refold.domain.ports import (
    Appended,
    Beside,
    Claim,
    Command,
    Expected,
    Head,
    History,
    Identity,
    Key,
    Outcome,
    Recorded,
    Seal,
    Snapshot,
    State,
    Tracked,
)
from refold.domain.positions import Positions
from refold.infrastructure import lots
from refold.infrastructure.appending.sorting import (
    Facts,
    Known,
    by_partition,
    check_following,
    check_state,
    ends_at,
    is_received,
    sort,
)


class MemoryLog:
    """A `Log` whose promises end with the process."""

    def __init__(self, partitions: int = 1) -> None:
        self._lock = Lock()
        self._identity = Identity(uuid4().hex, uuid4().hex)
        self._heads = [Head(number, 0, State.OPEN, None) for number in range(partitions)]
        self._events: list[list[Recorded]] = [[] for _ in range(partitions)]
        self._streams: defaultdict[str, list[Recorded]] = defaultdict(list)
        self._families: defaultdict[str, list[Recorded]] = defaultdict(list)
        self._commands: dict[str, list[Recorded]] = {}
        self._claims: dict[tuple[str, str], str] = {}
        self._keys: dict[str, Key] = {}
        self._trackings: dict[str, Tracked] = {}
        self._snapshots: dict[tuple[str, int], Snapshot] = {}
        self._seals: dict[tuple[int, int], bytes] = {}

    @property
    def partitions(self) -> int:
        return len(self._events)

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        return by_partition(commands, len(self._heads), self._append_to)

    def _append_to(self, partition: int, commands: Sequence[Command]) -> list[Outcome]:
        with self._lock:
            result = sort(commands, self._facts(partition, commands), time_ns() // 1_000)
            self._keep(result.records)
            for claim in result.released:
                del self._claims[claim.kind, claim.value]
            for claim in result.taken:
                self._claims[claim.kind, claim.value] = claim.stream
            self._keys.update((key.subject, key) for key in result.keys)
            self._trackings.update((each.application, each) for each in result.trackings)
        return result.outcomes

    def _facts(self, partition: int, commands: Sequence[Command]) -> Facts:
        events = self._events[partition]
        return Facts(
            head=self._heads[partition],
            recorded_at=events[-1].recorded_at if events else 0,
            versions={
                write.stream: len(self._streams[write.stream])
                for command in commands
                for write in command.writes
                if write.stream in self._streams
            },
            commands={
                command.id: _known(self._commands[command.id])
                for command in commands
                if command.id in self._commands
            },
            claims={
                place: self._claims[place]
                for command in commands
                for claim in (*command.takes, *command.releases)
                if (place := (claim.kind, claim.value)) in self._claims
            },
            keys={
                key.subject: self._keys[key.subject]
                for command in commands
                for key in command.keys
                if key.subject in self._keys
            },
            trackings={
                application: self._trackings[application]
                for command in commands
                for application, _ in command.trackings
                if application in self._trackings
            },
        )

    def _keep(self, records: Sequence[Recorded]) -> None:
        for record in records:
            self._events[record.partition].append(record)
            self._streams[record.stream].append(record)
            self._families[streams.family(record.stream)].append(record)
            self._commands.setdefault(record.command_id, []).append(record)
            self._heads[record.partition] = replace(
                self._heads[record.partition], position=record.position
            )

    def stream(self, stream: str, after: int = 0) -> list[Recorded]:
        with self._lock:
            return self._streams.get(stream, [])[after:]

    def history(self, stream: str) -> History:
        return History(*zip(*map(_HISTORY, self.stream(stream)), strict=True))

    def family(self, family: str) -> list[Recorded]:
        with self._lock:
            return list(self._families.get(family, ()))

    def page(self, partition: int, after: int, limit: int) -> list[Recorded]:
        with self._lock:
            return lots.page(self._events[partition][after : after + limit])

    def outcome(self, command_id: str) -> Appended | None:
        with self._lock:
            records = self._commands.get(command_id)
            return _known(records).outcome._replace(again=True) if records else None

    def holder(self, kind: str, value: str) -> str | None:
        with self._lock:
            return self._claims.get((kind, value))

    def streams(self, streams: Collection[str]) -> list[Recorded]:
        with self._lock:
            return [record for name in set(streams) for record in self._streams.get(name, ())]

    def holders(self, claims: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        with self._lock:
            return {claim: self._claims[claim] for claim in claims if claim in self._claims}

    def tracked(self, application: str) -> Tracked | None:
        with self._lock:
            return self._trackings.get(application)

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> bool:
        new = {(each.stream, each.version): each for each in snapshots}
        with self._lock:
            if len(new) < len(snapshots) or new.keys() & self._snapshots.keys():
                return False
            self._snapshots.update(new)
            return True

    def snapshots(self, stream: str, after: int, until: int, limit: int) -> list[Snapshot]:
        with self._lock:
            found = [
                each
                for (name, version), each in self._snapshots.items()
                if name == stream and after < version <= until
            ]
        return sorted(found, reverse=True)[:limit]

    def identity(self) -> Identity:
        return self._identity

    def heads(self) -> list[Head]:
        with self._lock:
            return list(self._heads)

    def change_state(
        self,
        state: State,
        *,
        expected: Expected = None,
        at: Positions | None = None,
        successor: str | None = None,
        log_id: str | None = None,
    ) -> list[Head]:
        with self._lock:
            check_state(self._heads, expected, at)
            self._heads = [replace(head, state=state, successor=successor) for head in self._heads]
            if log_id is not None:
                self._identity = replace(self._identity, log_id=log_id)
            return list(self._heads)

    def seals(self, partition: int) -> list[Seal]:
        with self._lock:
            return [
                Seal(number, position, chain)
                for (number, position), chain in sorted(self._seals.items())
                if number == partition
            ]

    def add_seals(self, seals: Sequence[Seal]) -> None:
        with self._lock:
            for seal in seals:
                self._seals.setdefault((seal.partition, seal.position), seal.chain)

    def keys(self, subjects: Sequence[str] | None = None) -> list[Key]:
        with self._lock:
            wanted = self._keys if subjects is None else set(subjects) & self._keys.keys()
            return [self._keys[subject] for subject in sorted(wanted)]

    def merge_keys(self, keys: Sequence[Key]) -> None:
        with self._lock:
            for key in keys:
                known = self._keys.setdefault(key.subject, key)
                if key.wrapped is None and known.wrapped is not None:
                    self._keys[key.subject] = key

    def receive(self, records: Sequence[Recorded]) -> None:
        with self._lock:
            for first in records[:1]:
                head = self._heads[first.partition]
                if is_received(records, head, self._last(head)):
                    return
                check_following(records, head)
            self._keep(records)

    def _last(self, head: Head) -> Recorded | None:
        return self._events[head.partition][-1] if head.position else None

    def create_indexes(self) -> None:
        """Do nothing: they are kept as events come."""

    def claims(self) -> Beside:
        with self._lock:
            claims = [Claim(*key, stream) for key, stream in sorted(self._claims.items())]
            return Beside(list(self._heads), claims, sorted(self._trackings.values()))

    def replace_claims(
        self, claims: Sequence[Claim], trackings: Sequence[Tracked], positions: Positions
    ) -> bool:
        with self._lock:
            if not ends_at(self._heads, positions):
                return False
            self._claims = {(claim.kind, claim.value): claim.stream for claim in claims}
            self._trackings = {each.application: each for each in trackings}
            return True

    def close(self) -> None:
        """Keep everything: the log lives as long as the object."""


_HISTORY: Final = attrgetter("type", "schema", "data", "position", "command_id", "command_no")


def _known(records: Sequence[Recorded]) -> Known:
    first, last = records[0], records[-1]
    return Known(first.stream, Appended(last.partition, last.position, last.stream, last.version))
