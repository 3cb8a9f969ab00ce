"""Requests about votes: on the tags of a file, and on its removal."""

from collections.abc import Sequence

from refold.domain import file, removal_vote, streams, tag_vote
from refold.domain.errors import CommandIdTaken, Conflict
from refold.domain.ports import Valued
from refold.infrastructure.requests.files import AddTag, OfFile, state
from refold.infrastructure.requests.request import Situation


def _file(now: Situation, stream: str) -> file.File:
    return state(now.store.history(streams.family(stream)))


def _tag_vote(events: Sequence[Valued]) -> tag_vote.TagVote:
    return tag_vote.after(*(event.value for event in events))  # type: ignore[arg-type]


def _removal_vote(events: Sequence[Valued]) -> removal_vote.RemovalVote:
    return removal_vote.after(*(event.value for event in events))  # type: ignore[arg-type]


class _OfTagVote(OfFile):
    tag: str
    voter: str

    def stream(self) -> str:
        return streams.name("file/tag_vote", self.sha256, self.tag, self.voter)


class CastTagVote(_OfTagVote):
    """Vote 1 or -1 on a tag of a file; a tag that is not there is added first."""

    stance: int

    def decide(self, now: Situation) -> Sequence[object]:
        tag_vote.check(self.voter, self.stance)  # before the tag is added for it
        tagged = _file(now, self.stream())
        if self.tag not in tagged.tags:
            tagged = self._with_tag(now)
        generation = tagged.generations[self.tag]
        return tag_vote.cast(_tag_vote(now.events), self.tag, self.voter, generation, self.stance)

    def _with_tag(self, now: Situation) -> file.File:
        """Add the tag as a command of its own, one for each generation that it may open.

        Raises `Conflict` when it is gone again, `CommandIdTaken` when the id did something else.
        """
        add = AddTag(sha256=self.sha256, tag=self.tag)
        before = now.store.history(add.stream())
        opened = state(before).generations.get(self.tag, 0)
        command_id = f"{now.command_id}/tag" + (f"/{opened + 1}" if opened else "")
        if all(event.command_id != command_id for event in before):
            self._check_unused(now)
        now.first(add, command_id)
        events = now.store.history(add.stream())
        tagged = state(events)
        if self.tag in tagged.tags:
            return tagged
        made = [event.value for event in events if event.command_id == command_id]
        if made and not any(self._is_adding(value) for value in made):
            raise CommandIdTaken(command_id, add.stream())
        raise Conflict(add.stream(), len(before), len(events))

    def _check_unused(self, now: Situation) -> None:
        """Raise `CommandIdTaken` before a tag is added for a vote that would be refused so."""
        known = now.store.log.outcome(now.command_id)
        if known and known.stream != self.stream():
            raise CommandIdTaken(now.command_id, known.stream)

    def _is_adding(self, value: object) -> bool:
        return isinstance(value, file.TagAdded) and value.tag == self.tag


class WithdrawTagVote(_OfTagVote):
    """Take a vote on a tag back."""

    def decide(self, now: Situation) -> Sequence[object]:
        tagged = _file(now, self.stream())
        file.check_known(tagged, self.sha256)
        generation = tagged.generations[self.tag] if self.tag in tagged.tags else 0
        return tag_vote.withdraw(_tag_vote(now.events), self.tag, self.voter, generation)


class _OfRemovalVote(OfFile):
    voter: str

    def stream(self) -> str:
        return streams.name("file/removal_vote", self.sha256, self.voter)


class CastRemovalVote(_OfRemovalVote):
    """Vote 1 or -1 on the removal of a file."""

    stance: int

    def decide(self, now: Situation) -> Sequence[object]:
        file.check_known(_file(now, self.stream()), self.sha256)
        return removal_vote.cast(_removal_vote(now.events), self.voter, self.stance)


class WithdrawRemovalVote(_OfRemovalVote):
    """Take a vote on the removal of a file back."""

    def decide(self, now: Situation) -> Sequence[object]:
        file.check_known(_file(now, self.stream()), self.sha256)
        return removal_vote.withdraw(_removal_vote(now.events), self.voter)
