"""One voter's stance on the removal of a file: for it, against it, or none.

A stream of its own, like a tag vote, but without generations: a file is never added twice.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple, assert_never

from refold.domain.tag_vote import check

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cast:
    """The voter took a stance, +1 or -1, and had none before."""

    voter: str
    stance: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The voter turned from `previous` to `stance`."""

    voter: str
    stance: int
    previous: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The voter took `previous` back."""

    voter: str
    previous: int


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "removal_vote.cast": Cast,
    "removal_vote.changed": Changed,
    "removal_vote.withdrawn": Withdrawn,
}

Event = Cast | Changed | Withdrawn

# --- state --------------------------------------------------------------------


class RemovalVote(NamedTuple):
    stance: int = 0


def evolve(_: RemovalVote, event: Event) -> RemovalVote:
    match event:
        case Cast(stance=stance) | Changed(stance=stance):
            return RemovalVote(stance)
        case Withdrawn():
            return RemovalVote(0)
        case _:
            assert_never(event)


def after(*events: Event) -> RemovalVote:
    return reduce(evolve, events, RemovalVote())


def swing(event: Event) -> int:
    """Return by how much `event` moves the file's moderation votes."""
    match event:
        case Cast():
            return event.stance
        case Changed():
            return event.stance - event.previous
        case Withdrawn():
            return -event.previous
        case _:
            assert_never(event)


# --- decisions ----------------------------------------------------------------


def cast(vote: RemovalVote, voter: str, stance: int) -> list[Event]:
    check(voter, stance)
    if vote.stance == stance:
        return []
    if vote.stance:
        return [Changed(voter, stance, vote.stance)]
    return [Cast(voter, stance)]


def withdraw(vote: RemovalVote, voter: str) -> list[Event]:
    return [Withdrawn(voter, vote.stance)] if vote.stance else []
