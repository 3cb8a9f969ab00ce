"""Commands: what a service may ask of a store, by name, and the loop that carries each out.

The loop reads the stream, lets the domain decide, and appends; when another was faster it begins
again. The models here check what comes from outside; the rules are the domain's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from refold.domain import file, removal_vote, streams, tag_vote
from refold.domain.errors import BadInput, CommandIdTaken, Conflict
from refold.domain.ports import Appended, Command, Event, Write
from refold.domain.texts import check_text
from refold.infrastructure.codec import Metadata, encode_metadata
from refold.infrastructure.legacy import pinshare
from refold.infrastructure.store import Store

ATTEMPTS: Final = 50
"""How often the loop decides again when others write to the same stream."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a command: `position` is that of its last event, 0 if it made none.

    `duplicate` tells that the same command id did it before; this is its first outcome.
    """

    outcome: Literal["appended", "duplicate", "unchanged"]
    stream: str
    version: int
    position: int


def run(
    store: Store,
    name: str,
    data: Mapping[str, Any],
    *,
    command_id: str,
    actor: str,
    expected: int | None = None,
) -> Done:
    """Carry out the command called `name` with the fields in `data`.

    With `expected`, the version that the person saw, a `Conflict` is final. Raises `BadInput`
    for an unknown name or a malformed field, and whatever the domain or the log refuses.
    """
    request = parse(name, data)
    check_text("command id", command_id)
    return carry_out(store, request, command_id=command_id, actor=actor, expected=expected)


def parse(name: str, data: Mapping[str, Any]) -> "Request":
    """Return the request that `data` makes. Raises `BadInput` with the first field that is off."""
    model = REQUESTS.get(name)
    if model is None:
        raise BadInput(f"there is no command {name!r}; there are {', '.join(REQUESTS)}")
    try:
        request: Request = model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "input"
        raise BadInput(f"{name}: {field}: {first['msg']}") from None
    return request


def carry_out(
    store: Store, request: "Request", *, command_id: str, actor: str, expected: int | None = None
) -> Done:
    """Read, decide, append; again if another was faster and nothing was expected."""
    stream = request.stream()
    metadata = encode_metadata(Metadata(actor))
    attempts = 0
    while True:
        attempts += 1
        events = store.stream(stream)
        done = _first_outcome(events, command_id)
        if done:
            return done
        last = events[-1].recorded if events else None
        version = last.version if last else 0
        if expected not in (None, version):
            raise Conflict(stream, expected, version)
        values = request.decide(Situation(store, events, command_id, actor))
        if not values:
            return Done("unchanged", stream, version, last.position if last else 0)
        write = Write(
            stream, version, tuple(store.codec.encode(value, metadata) for value in values)
        )
        [outcome] = store.log.append([Command(command_id, (write,))])
        if isinstance(outcome, Appended):
            return _done(outcome)
        if expected is not None or attempts == ATTEMPTS or not isinstance(outcome, Conflict):
            raise outcome


def _first_outcome(events: Sequence[Event], command_id: str) -> Done | None:
    """Return what the command did to its stream when it was carried out before."""
    own = [each.recorded for each in events if each.recorded.command_id == command_id]
    return Done("duplicate", own[-1].stream, own[-1].version, own[-1].position) if own else None


def _done(outcome: Appended) -> Done:
    return Done(
        "duplicate" if outcome.again else "appended",
        outcome.stream,
        outcome.version,
        outcome.position,
    )


# --- requests ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Situation:
    """What a request decides from: the events of its own stream, and the store around them."""

    store: Store
    events: Sequence[Event]
    command_id: str
    actor: str

    def file(self, family: str | None = None) -> file.File:
        """Return the file whose events these are, or the one that `family` names."""
        events = self.events if family is None else self.store.stream(family)
        return file.after(*(event.value for event in events))  # type: ignore[arg-type]

    def tag_vote(self) -> tag_vote.TagVote:
        """Return the tag vote whose events these are."""
        return tag_vote.after(*(event.value for event in self.events))  # type: ignore[arg-type]

    def removal_vote(self) -> removal_vote.RemovalVote:
        """Return the removal vote whose events these are."""
        return removal_vote.after(*(event.value for event in self.events))  # type: ignore[arg-type]


class Request(Protocol):
    """A command's fields, the stream it is about, and what the domain makes of it."""

    def stream(self) -> str:
        """Return the stream that the command writes to."""
        ...

    def decide(self, now: Situation) -> Sequence[object]:
        """Return the new values for the stream, or raise `Refused`."""
        ...


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _OfFile(_Fields):
    sha256: str

    def stream(self) -> str:
        return streams.name("file", self.sha256)


class RegisterFile(_OfFile):
    """Make a file known, or change the fields of a known one."""

    cid: str
    name: str = ""
    type: str = ""
    added_at: str | None = None

    def decide(self, now: Situation) -> Sequence[object]:
        return file.register(now.file(), self.sha256, self.cid, self.name, self.type, self.added_at)


class ChangeFile(_OfFile):
    """Change some fields of a file."""

    cid: str | None = None
    name: str | None = None
    type: str | None = None

    def decide(self, now: Situation) -> Sequence[object]:
        return file.change(now.file(), self.sha256, self.cid, self.name, self.type)


class ReplaceFile(_OfFile):
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
            now.file(), self.sha256, self.cid, self.name, self.type, removal_votes=sum(votes)
        )


class BanFile(_OfFile):
    """Ban a file: 3 policy violation, 6 indecent, 9 malware; 0 lifts the ban."""

    code: int

    def decide(self, now: Situation) -> Sequence[object]:
        return file.ban(now.file(), self.sha256, self.code)


class UnbanFile(_OfFile):
    """Lift the ban of a file."""

    def decide(self, now: Situation) -> Sequence[object]:
        return file.unban(now.file(), self.sha256)


class AddTag(_OfFile):
    """Add a tag with count 0; one that is there keeps its votes."""

    tag: str

    def decide(self, now: Situation) -> Sequence[object]:
        return file.add_tag(now.file(), self.sha256, self.tag)


class ResetTag(_OfFile):
    """Set a tag's count to 0, as PinShare's AddTag does."""

    tag: str

    def decide(self, now: Situation) -> Sequence[object]:
        return file.reset_tag(now.file(), self.sha256, self.tag)


class RemoveTag(_OfFile):
    """Remove a tag, and the votes on it."""

    tag: str

    def decide(self, now: Situation) -> Sequence[object]:
        return file.remove_tag(now.file(), self.sha256, self.tag)


class ApplyGossip(_Fields):
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
        return file.apply_gossip(now.file(), sha256, record, self.peer, newest, tie)


class _OfTagVote(_OfFile):
    tag: str
    voter: str

    def stream(self) -> str:
        return streams.name("file/tag_vote", self.sha256, self.tag, self.voter)


class CastTagVote(_OfTagVote):
    """Vote 1 or -1 on a tag of a file; a tag that is not there is added first."""

    stance: int

    def decide(self, now: Situation) -> Sequence[object]:
        tag_vote.check(self.voter, self.stance)  # before the tag is added for it
        tagged = now.file(streams.family(self.stream()))
        if self.tag not in tagged.tags:
            tagged = self._with_tag(now, tagged)
        generation = tagged.generations[self.tag]
        return tag_vote.cast(now.tag_vote(), self.tag, self.voter, generation, self.stance)

    def _with_tag(self, now: Situation, before: file.File) -> file.File:
        """Add the tag as a command of its own, one for each generation that it may open."""
        add = AddTag(sha256=self.sha256, tag=self.tag)
        again = before.generations.get(self.tag, 0)
        command_id = f"{now.command_id}/tag" + (f"/{again + 1}" if again else "")
        carry_out(now.store, add, command_id=command_id, actor=now.actor)
        tagged = now.file(add.stream())
        if self.tag not in tagged.tags:  # the id was used for another tag, or it is gone again
            raise CommandIdTaken(command_id, add.stream())
        return tagged


class WithdrawTagVote(_OfTagVote):
    """Take a vote on a tag back."""

    def decide(self, now: Situation) -> Sequence[object]:
        tagged = now.file(streams.family(self.stream()))
        file.check_known(tagged, self.sha256)
        generation = tagged.generations[self.tag] if self.tag in tagged.tags else 0
        return tag_vote.withdraw(now.tag_vote(), self.tag, self.voter, generation)


class _OfRemovalVote(_OfFile):
    voter: str

    def stream(self) -> str:
        return streams.name("file/removal_vote", self.sha256, self.voter)


class CastRemovalVote(_OfRemovalVote):
    """Vote 1 or -1 on the removal of a file."""

    stance: int

    def decide(self, now: Situation) -> Sequence[object]:
        file.check_known(now.file(streams.family(self.stream())), self.sha256)
        return removal_vote.cast(now.removal_vote(), self.voter, self.stance)


class WithdrawRemovalVote(_OfRemovalVote):
    """Take a vote on the removal of a file back."""

    def decide(self, now: Situation) -> Sequence[object]:
        file.check_known(now.file(streams.family(self.stream())), self.sha256)
        return removal_vote.withdraw(now.removal_vote(), self.voter)


REQUESTS: Final[Mapping[str, type[Any]]] = {
    "file.register": RegisterFile,
    "file.change": ChangeFile,
    "file.replace": ReplaceFile,
    "file.ban": BanFile,
    "file.unban": UnbanFile,
    "file.add_tag": AddTag,
    "file.reset_tag": ResetTag,
    "file.remove_tag": RemoveTag,
    "file.apply_gossip": ApplyGossip,
    "tag_vote.cast": CastTagVote,
    "tag_vote.withdraw": WithdrawTagVote,
    "removal_vote.cast": CastRemovalVote,
    "removal_vote.withdraw": WithdrawRemovalVote,
}
