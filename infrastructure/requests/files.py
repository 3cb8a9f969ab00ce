"""Requests about files: their fields, tags and bans."""

from collections.abc import Sequence
from typing import Any, Literal

from refold.domain import file, removal_vote, streams
from refold.domain.ports import Valued
from refold.infrastructure.legacy.pinshare import records as pinshare
from refold.infrastructure.requests.request import Fields, Situation


def state(events: Sequence[Valued]) -> file.File:
    """Return the file that its events add up to."""
    return file.after(*(event.value for event in events))  # type: ignore[arg-type]


class OfFile(Fields):
    """What is asked of one file."""

    sha256: str

    def stream(self) -> str:
        return streams.name("file", self.sha256)


class RegisterFile(OfFile):
    """Make a file known, or change the fields of a known one."""

    cid: str
    name: str = ""
    type: str = ""
    added_at: str | None = None

    def decide(self, now: Situation) -> Sequence[object]:
        return file.register(
            state(now.events), self.sha256, self.cid, self.name, self.type, self.added_at
        )


class ChangeFile(OfFile):
    """Change some fields of a file."""

    cid: str | None = None
    name: str | None = None
    type: str | None = None

    def decide(self, now: Situation) -> Sequence[object]:
        return file.change(state(now.events), self.sha256, self.cid, self.name, self.type)


class ReplaceFile(OfFile):
    """Replace a file as PinShare's PUT does: tags, votes and ban are gone."""

    cid: str
    name: str = ""
    type: str = ""

    def decide(self, now: Situation) -> Sequence[object]:
        votes = [
            removal_vote.swing(event.value)
            for event in now.store.family(self.stream())
            if isinstance(event.value, removal_vote.Event)
        ]
        return file.replace_all(
            state(now.events), self.sha256, self.cid, self.name, self.type, removal_votes=sum(votes)
        )


class BanFile(OfFile):
    """Ban a file: 3 policy violation, 6 indecent, 9 malware; 0 lifts the ban."""

    code: int

    def decide(self, now: Situation) -> Sequence[object]:
        return file.ban(state(now.events), self.sha256, self.code)


class UnbanFile(OfFile):
    """Lift the ban of a file."""

    def decide(self, now: Situation) -> Sequence[object]:
        return file.unban(state(now.events), self.sha256)


class AddTag(OfFile):
    """Add a tag with count 0; one that is there keeps its votes."""

    tag: str

    def decide(self, now: Situation) -> Sequence[object]:
        return file.add_tag(state(now.events), self.sha256, self.tag)


class ResetTag(OfFile):
    """Set a tag's count to 0, as PinShare's AddTag does."""

    tag: str

    def decide(self, now: Situation) -> Sequence[object]:
        return file.reset_tag(state(now.events), self.sha256, self.tag)


class RemoveTag(OfFile):
    """Remove a tag, and the votes on it."""

    tag: str

    def decide(self, now: Situation) -> Sequence[object]:
        return file.remove_tag(state(now.events), self.sha256, self.tag)


class ApplyGossip(Fields):
    """Take over another node's record, as it came, if it is newer than what is known here."""

    record: dict[str, Any]
    peer: str
    tie: Literal["keep", "replace"] = "keep"

    def stream(self) -> str:
        return streams.name("file", pinshare.gossip(self.record)[0])

    def decide(self, now: Situation) -> Sequence[object]:
        sha256, record = pinshare.gossip(self.record)
        family = now.store.family(self.stream())
        newest = None
        if family:
            newest = file.last_updated(family[-1].value, family[-1].recorded.recorded_at)
        tie = file.Tie(self.tie)
        return file.apply_gossip(state(now.events), sha256, record, self.peer, newest, tie)
