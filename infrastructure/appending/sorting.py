"""Decides what becomes of each command of a batch: one pure function for every backend.

A backend locks the head, reads the facts that the batch asks about, sorts, and writes the result.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from refold.domain import streams
from refold.domain.errors import (
    AlreadyTracked,
    Claimed,
    CommandIdTaken,
    Conflict,
    EndsElsewhere,
    Filling,
    KeyErased,
    Moved,
    Refused,
)
from refold.domain.ports import (
    Appended,
    Claim,
    Command,
    Expected,
    Head,
    Key,
    Outcome,
    Recorded,
    State,
    Tracked,
    ends,
)
from refold.domain.positions import Positions


class Known(NamedTuple):
    """A command that is in the log: the stream of its first event and what it came to."""

    stream: str
    outcome: Appended


@dataclass(frozen=True, slots=True)
class Facts:
    """What a backend knows, under the head's lock, of all that a batch mentions.

    A stream, command, claim, key or tracking that is not there is missing from its mapping.
    """

    head: Head
    recorded_at: int
    versions: dict[str, int] = field(default_factory=dict)
    commands: dict[str, Known] = field(default_factory=dict)
    claims: dict[tuple[str, str], str] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    trackings: dict[str, Tracked] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sorted:
    """One outcome for each command, and what has to be written for them to be true."""

    outcomes: list[Outcome]
    records: list[Recorded]
    released: list[Claim]
    taken: list[Claim]
    keys: list[Key]
    trackings: list[Tracked]


def sort(commands: Sequence[Command], facts: Facts, now: int) -> Sorted:
    """Decide each of `commands`, in order; `now` is the clock in µs. Changes nothing it is given.

    A command that was there before keeps its first outcome, also in a store that is closed.
    """
    batch = _Batch(facts, max(facts.recorded_at, now))
    outcomes = [batch.decide(command) for command in commands]
    before, after = facts.claims, batch.claims
    return Sorted(
        outcomes,
        batch.records,
        released=_claims(
            (key, holder) for key, holder in before.items() if after.get(key) != holder
        ),
        taken=_claims((key, holder) for key, holder in after.items() if before.get(key) != holder),
        keys=[key for subject, key in batch.keys.items() if facts.keys.get(subject) != key],
        trackings=[
            each for name, each in batch.trackings.items() if facts.trackings.get(name) != each
        ],
    )


def by_partition(
    commands: Sequence[Command],
    partitions: int,
    append: Callable[[int, Sequence[Command]], Sequence[Outcome]],
) -> list[Outcome]:
    """Give `append` the commands of each partition, and return their outcomes in order.

    Raises `Refused` for a command that is empty or whose streams lie in two partitions.
    """
    indexes = split(commands, partitions)
    if len(indexes) == 1:
        return list(append(indexes.popitem()[0], commands))
    outcomes: dict[int, Outcome] = {}
    for partition, own in indexes.items():
        result = append(partition, [commands[index] for index in own])
        outcomes.update(zip(own, result, strict=True))
    return [outcomes[index] for index in range(len(commands))]


def split(commands: Sequence[Command], partitions: int) -> dict[int, list[int]]:
    """Return the numbers of the commands of each partition. Raises as `by_partition`."""
    indexes: dict[int, list[int]] = {}
    for index, command in enumerate(commands):
        indexes.setdefault(_home(command, partitions), []).append(index)
    return indexes


def _home(command: Command, partitions: int) -> int:
    if command.trackings and not command.writes:
        return 0
    homes = {streams.partition(stream, partitions) for stream, _, _ in command.writes}
    if len(homes) != 1 or () in [events for _, _, events in command.writes]:
        raise Refused(
            f"command {command.id} needs events for streams of one partition, not of {len(homes)}"
        )
    return homes.pop()


def is_received(records: Sequence[Recorded], head: Head, last: Recorded | None) -> bool:
    """Tell whether `records` end with `last`, the event at the `head` of a store that is filled."""
    return head.state is State.FILLING and last is not None and records[-1] == last


def check_following(records: Sequence[Recorded], head: Head) -> None:
    """Raise `Refused` unless the store is filling and `records` follow `head` without a hole."""
    for position, record in enumerate(records, head.position + 1):
        if (
            head.state is not State.FILLING
            or record.position != position
            or record.partition != head.partition
        ):
            raise Refused(
                f"event {record.position} cannot follow position {position - 1}"
                f" of a store that is {head.state.value}"
            )


def taken(records: Sequence[Recorded]) -> Refused:
    """Return what is told of `records` of which one has what only one event may have."""
    return Refused(
        f"one of the events {records[0].position} to {records[-1].position} has the stream and"
        " version, or the command id, of one that is there"
    )


def ends_at(heads: Iterable[Head], positions: Positions) -> bool:
    """Tell whether a store that is being filled ends there. Raises `Refused` for others."""
    ends = []
    for head in heads:
        if head.state is not State.FILLING:
            raise Refused("claims are replaced only while a store is being filled")
        ends.append(head.position)
    return tuple(ends) == positions.each


def check_state(heads: Sequence[Head], expected: Expected, at: Positions | None) -> None:
    """Raise what a store answers that is not as `expected`, or does not end `at` a position."""
    for head in heads:
        if expected not in (None, head.state, (head.state, head.successor)):
            raise closed(head) or Refused("this store is open")
    if at not in (None, ends(heads)):
        raise EndsElsewhere(f"the log ends at position {ends(heads)}, not {at}")


def is_in(heads: Sequence[Head], state: State, successor: str | None) -> bool:
    """Tell whether all partitions are in a state already."""
    return all((head.state, head.successor) == (state, successor) for head in heads)


def closed(head: Head) -> Refused | None:
    """Return what a store answers to commands, None when it takes them."""
    match head.state:
        case State.OPEN:
            return None
        case State.FILLING:  # on the way back, the store that it moved to goes on meanwhile
            return Moved(head.successor) if head.successor else Filling()
        case State.SEALED:
            return Moved(head.successor or "an unknown address")


class _Batch:
    """The facts as they change while the members of a batch are decided one after the other."""

    def __init__(self, facts: Facts, recorded_at: int) -> None:
        self.head = facts.head
        self.recorded_at = recorded_at
        self.versions = dict(facts.versions)
        self.commands = dict(facts.commands)
        self.claims = dict(facts.claims)
        self.keys = dict(facts.keys)
        self.trackings = dict(facts.trackings)
        self.records: list[Recorded] = []

    def decide(self, command: Command) -> Outcome:
        known = self.commands.get(command.id)
        if known:
            if not command.writes or known.stream != command.writes[0].stream:
                return CommandIdTaken(command.id, known.stream)
            return known.outcome._replace(again=True)
        if not command.writes and self._stands(command):
            return self._end()._replace(again=True)
        refusal = (
            closed(self.head)
            or self._conflict(command)
            or self._tracked(command)
            or self._claimed(command)
            or self._erased(command)
        )
        return refusal or self._accept(command)

    def _conflict(self, command: Command) -> Conflict | None:
        ahead: dict[str, int] = {}
        for write in command.writes:
            version = ahead.get(write.stream, self.versions.get(write.stream, 0))
            if write.expected not in (None, version):
                return Conflict(write.stream, write.expected, version)
            ahead[write.stream] = version + len(write.events)
        return None

    def _tracked(self, command: Command) -> AlreadyTracked | None:
        for application, position in command.trackings:
            stands = self.trackings.get(application)
            if stands and stands.position >= position:
                return AlreadyTracked(application, position, stands.position)
        return None

    def _stands(self, command: Command) -> bool:
        """Tell whether all trackings of a command stand as it brought them."""
        return all(
            self.trackings.get(each.application) == (*each, command.id)
            for each in command.trackings
        )

    def _claimed(self, command: Command) -> Claimed | None:
        free = {(claim.kind, claim.value) for claim in command.releases if self._holds(claim)}
        for claim in command.takes:
            key = (claim.kind, claim.value)
            holder = None if key in free else self.claims.get(key)
            if holder not in (None, claim.stream):
                return Claimed(claim.kind, holder)
        return None

    def _erased(self, command: Command) -> Refused | Conflict | None:
        """Tell why a new key cannot be kept: its subject was erased, or has another one."""
        for key in command.keys:
            known = self.keys.get(key.subject)
            if known is None or key.wrapped in (None, known.wrapped):
                continue
            if known.wrapped is None:
                return KeyErased(key.subject)
            write = command.writes[0]
            return Conflict(write.stream, write.expected or 0, self.versions.get(write.stream, 0))
        return None

    def _holds(self, claim: Claim) -> bool:
        return self.claims.get((claim.kind, claim.value)) == claim.stream

    def _accept(self, command: Command) -> Appended:
        for claim in filter(self._holds, command.releases):
            del self.claims[claim.kind, claim.value]
        for claim in command.takes:
            self.claims[claim.kind, claim.value] = claim.stream
        for key in command.keys:
            known = self.keys.get(key.subject)
            if known is None or (key.wrapped is None and known.wrapped is not None):
                self.keys[key.subject] = key
        for each in command.trackings:
            self.trackings[each.application] = Tracked(*each, command.id)
        if not command.writes:
            return self._end()
        partition, number = self.head.partition, 0
        for stream, _, events in command.writes:
            version = self.versions.get(stream, 0)
            for event in events:
                version += 1
                position = self.head.position + len(self.records) + 1
                self.records.append(
                    Recorded(
                        partition,
                        position,
                        stream,
                        version,
                        *event,
                        self.recorded_at,
                        command.id,
                        number,
                    )
                )
                number += 1
            self.versions[stream] = version
        last = self.records[-1]
        outcome = Appended(partition, last.position, last.stream, last.version)
        self.commands[command.id] = Known(command.writes[0].stream, outcome)
        return outcome

    def _end(self) -> Appended:
        """Return the outcome of trackings alone: where the log ends."""
        return Appended(self.head.partition, self.head.position + len(self.records), "", 0)


def _claims(held: Iterable[tuple[tuple[str, str], str]]) -> list[Claim]:
    return sorted(
        (Claim(kind, value, stream) for (kind, value), stream in held),
        key=lambda claim: (claim.kind, claim.value),
    )
