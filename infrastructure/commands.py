"""Commands: what a service may ask of a store, by name, and the loop that carries each out.

The loop reads the stream, lets the domain decide, and appends; when another was faster it begins
again. The models here check what comes from outside; the rules are the domain's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from refold.domain import file, removal_vote, streams, tag_vote
from refold.domain.errors import BadInput, Conflict
from refold.domain.ports import Appended, Command, Event, Write
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
    streams.check_text("command id", command_id)
    return carry_out(store, request, command_id=command_id, actor=actor, expected=expected)


def parse(name: str, data: Mapping[str, Any]) -> "Request":
    """Return the request that `data` makes. Raises `BadInput` with the first field that is off."""
    model = REQUESTS.get(name)
    if model is None:
        raise BadInput(f"there is no command {name!r}; there are {', '.join(REQUESTS)}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "input"
        raise BadInput(f"{name}: {field}: {first['msg']}") from None


def carry_out(
    store: Store, request: "Request", *, command_id: str, actor: str, expected: int | None = None
) -> Done:
    """Read, decide, append; again if another was faster and nothing was expected."""
    stream = request.stream()
    metadata = encode_metadata(Metadata(actor))
    for _ in range(ATTEMPTS):
        events = store.stream(stream)
        done = _first_outcome(events, command_id)
        if done:
            return done
        last = events[-1].recorded if events else None
        version = last.version if last else 0
        if expected not in (None, version):
            raise Conflict(stream, expected, version)
        values = request.decide(store, events, command_id, actor)
        if not values:
            return Done("unchanged", stream, version, last.position if last else 0)
        write = Write(
            stream, version, tuple(store.codec.encode(value, metadata) for value in values)
        )
        [outcome] = store.log.append([Command(command_id, (write,))])
        if isinstance(outcome, Appended):
            return _done(outcome)
        if expected is not None or not isinstance(outcome, Conflict):
            raise outcome
    raise Conflict(stream, version, version + 1)


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


class Request(Protocol):
    """A command's fields, the stream it is about, and what the domain makes of it."""

    def stream(self) -> str:
        """Return the stream that the command writes to."""
        ...

    def decide(
        self, store: Store, events: Sequence[Event], command_id: str, actor: str
    ) -> Sequence[object]:
        """Return the new values for the stream whose events are given, or raise `Refused`."""
        ...


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _OfFile(_Fields):
    """A command on a file: decides from the file's own stream."""

    sha256: str

    def stream(self) -> str:
        return streams.name("file", self.sha256)

    def decide(
        self, store: Store, events: Sequence[Event], command_id: str, actor: str
    ) -> Sequence[object]:
        return self.decided(_file(events))

    def decided(self, state: file.File) -> Sequence[object]:
        raise NotImplementedError


class RegisterFile(_OfFile):
    """Make a file known, or change the fields of a known one."""

    cid: str
    name: str = ""
    type: str = ""
    added_at: str | None = None

    def decided(self, state: file.File) -> Sequence[object]:
        return file.register(state, self.sha256, self.cid, self.name, self.type, self.added_at)


class ChangeFile(_OfFile):
    """Change some fields of a file."""

    cid: str | None = None
    name: str | None = None
    type: str | None = None

    def decided(self, state: file.File) -> Sequence[object]:
        return file.change(state, self.sha256, self.cid, self.name, self.type)


class ReplaceFile(_OfFile):
    """Replace a file as PinShare's PUT does: tags, votes and ban are gone."""

    cid: str
    name: str = ""
    type: str = ""

    def decide(
        self, store: Store, events: Sequence[Event], command_id: str, actor: str
    ) -> Sequence[object]:
        standing = sum(
            removal_vote.swing(event.value)
            for event in store.family(self.stream())
            if isinstance(event.value, removal_vote.Event)
        )
        return file.replace_all(
            _file(events), self.sha256, self.cid, self.name, self.type, removal_votes=standing
        )


class BanFile(_OfFile):
    """Ban a file: 3 policy violation, 6 indecent, 9 malware; 0 lifts the ban."""

    code: int

    def decided(self, state: file.File) -> Sequence[object]:
        return file.ban(state, self.sha256, self.code)


class UnbanFile(_OfFile):
    """Lift the ban of a file."""

    def decided(self, state: file.File) -> Sequence[object]:
        return file.unban(state, self.sha256)


class AddTag(_OfFile):
    """Add a tag with count 0; one that is there keeps its votes."""

    tag: str

    def decided(self, state: file.File) -> Sequence[object]:
        return file.add_tag(state, self.sha256, self.tag)


class ResetTag(_OfFile):
    """Set a tag's count to 0, as PinShare's AddTag does."""

    tag: str

    def decided(self, state: file.File) -> Sequence[object]:
        return file.reset_tag(state, self.sha256, self.tag)


class RemoveTag(_OfFile):
    """Remove a tag, and the votes on it."""

    tag: str

    def decided(self, state: file.File) -> Sequence[object]:
        return file.remove_tag(state, self.sha256, self.tag)


class ApplyGossip(_Fields):
    """Take over another node's record, as it came, if it is newer than what is known here."""

    record: dict[str, Any]
    peer: str
    tie: Literal["keep", "replace"] = "keep"

    def stream(self) -> str:
        return streams.name("file", self._record()[0])

    def decide(
        self, store: Store, events: Sequence[Event], command_id: str, actor: str
    ) -> Sequence[object]:
        sha256, record = self._record()
        family = store.family(self.stream())
        newest = None
        if family:
            newest = file.last_updated(family[-1].value, family[-1].recorded.recorded_at)
        tie = file.Tie(self.tie)
        return file.apply_gossip(_file(events), sha256, record, self.peer, newest, tie)

    def _record(self) -> tuple[str, file.Record]:
        return pinshare.gossip(self.record)


class CastTagVote(_Fields):
    """Vote 1 or -1 on a tag of a file; a tag that is not there is added first."""

    sha256: str
    tag: str
    voter: str
    stance: int

    def stream(self) -> str:
        return streams.name("file/tag_vote", self.sha256, self.tag, self.voter)

    def decide(
        self, store: Store, events: Sequence[Event], command_id: str, actor: str
    ) -> Sequence[object]:
        vote = _tag_vote(events)
        tag_vote.cast(vote, self.tag, self.voter, vote.generation, self.stance)  # may refuse
        add = AddTag(sha256=self.sha256, tag=self.tag)
        carry_out(store, add, command_id=f"{command_id}/tag", actor=actor)
        generation = _file(store.stream(add.stream())).generations[self.tag]
        return tag_vote.cast(vote, self.tag, self.voter, generation, self.stance)


class WithdrawTagVote(_Fields):
    """Take a vote on a tag back."""

    sha256: str
    tag: str
    voter: str

    def stream(self) -> str:
        return streams.name("file/tag_vote", self.sha256, self.tag, self.voter)

    def decide(
        self, store: Store, events: Sequence[Event], command_id: str, actor: str
    ) -> Sequence[object]:
        tagged = _file(store.stream(streams.family(self.stream())))
        file.check_known(tagged, self.sha256)
        generation = tagged.generations.get(self.tag, 0) if self.tag in tagged.tags else 0
        return tag_vote.withdraw(_tag_vote(events), self.tag, self.voter, generation)


class CastRemovalVote(_Fields):
    """Vote 1 or -1 on the removal of a file."""

    sha256: str
    voter: str
    stance: int

    def stream(self) -> str:
        return streams.name("file/removal_vote", self.sha256, self.voter)

    def decide(
        self, store: Store, events: Sequence[Event], command_id: str, actor: str
    ) -> Sequence[object]:
        file.check_known(_file(store.stream(streams.family(self.stream()))), self.sha256)
        return removal_vote.cast(_removal_vote(events), self.voter, self.stance)


class WithdrawRemovalVote(_Fields):
    """Take a vote on the removal of a file back."""

    sha256: str
    voter: str

    def stream(self) -> str:
        return streams.name("file/removal_vote", self.sha256, self.voter)

    def decide(
        self, store: Store, events: Sequence[Event], command_id: str, actor: str
    ) -> Sequence[object]:
        file.check_known(_file(store.stream(streams.family(self.stream()))), self.sha256)
        return removal_vote.withdraw(_removal_vote(events), self.voter)


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


def _file(events: Sequence[Event]) -> file.File:
    return file.after(*(event.value for event in events))  # type: ignore[arg-type]


def _tag_vote(events: Sequence[Event]) -> tag_vote.TagVote:
    return tag_vote.after(*(event.value for event in events))  # type: ignore[arg-type]


def _removal_vote(events: Sequence[Event]) -> removal_vote.RemovalVote:
    return removal_vote.after(*(event.value for event in events))  # type: ignore[arg-type]
