"""One voter's stance on one tag of one file: for it, against it, or none.

A stream of its own, so that a thousand voters never wait for each other. A vote counts within the
generation of the tag it was cast in.
"""

from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple, assert_never

from refold.domain.errors import Refused
from refold.domain.texts import check_word

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cast:
    """The voter took a stance, +1 or -1, and had none in this generation before."""

    tag: str
    voter: str
    generation: int
    stance: int


@dataclass(frozen=True, slots=True)
class Changed:
    """The voter turned from `previous` to `stance` within the generation."""

    tag: str
    voter: str
    generation: int
    stance: int
    previous: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """The voter took `previous` back."""

    tag: str
    voter: str
    generation: int
    previous: int


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "tag_vote.cast": Cast,
    "tag_vote.changed": Changed,
    "tag_vote.withdrawn": Withdrawn,
}

Event = Cast | Changed | Withdrawn

# --- state --------------------------------------------------------------------


class TagVote(NamedTuple):
    generation: int = 0
    stance: int = 0


def evolve(_: TagVote, event: Event) -> TagVote:
    match event:
        case (
            Cast(generation=generation, stance=stance)
            | Changed(generation=generation, stance=stance)
        ):
            return TagVote(generation, stance)
        case Withdrawn(generation=generation):
            return TagVote(generation, 0)
        case _:
            assert_never(event)


def after(*events: Event) -> TagVote:
    return reduce(evolve, events, TagVote())


def swing(event: Event) -> int:
    """Return by how much `event` moves the count of its generation."""
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


class NotAStance(Refused):
    """A vote is +1 or -1."""


def cast(vote: TagVote, tag: str, voter: str, generation: int, stance: int) -> list[Event]:
    """Vote +1 or -1 on a tag's present generation; voting the same again is no news."""
    check(voter, stance)
    previous = vote.stance if vote.generation == generation else 0
    if previous == stance:
        return []
    if previous:
        return [Changed(tag, voter, generation, stance, previous)]
    return [Cast(tag, voter, generation, stance)]


def withdraw(vote: TagVote, tag: str, voter: str, generation: int) -> list[Event]:
    if vote.generation != generation or not vote.stance:
        return []
    return [Withdrawn(tag, voter, generation, vote.stance)]


def check(voter: str, stance: int) -> None:
    """Raise a `Refused` unless `voter` is a name and `stance` is one."""
    check_word("voter", voter)
    if stance not in (1, -1):
        raise NotAStance(f"a vote is 1 or -1, not {stance}")
