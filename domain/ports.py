"""What the domain asks of a store: the records of the log and the promises of its backends.

What passes by for each event is a tuple: those are made in a third of a dataclass's time.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple, Protocol

from refold.domain.errors import Conflict, Refused
from refold.domain.positions import Positions

# --- records ----------------------------------------------------------------------


class Recorded(NamedTuple):
    """One event as it is stored, byte for byte.

    `position` counts 1, 2, 3 … within `partition`, `version` within `stream`, `command_no` from 0
    within `command_id`. `recorded_at` is µs since 1970 UTC and never goes back in a partition.
    """

    partition: int
    position: int
    stream: str
    version: int
    type: str
    schema: int
    data: bytes
    metadata: bytes
    recorded_at: int
    command_id: str
    command_no: int


class Event(NamedTuple):
    """A record of the log and the value that it means."""

    recorded: Recorded
    value: object


class History(NamedTuple):
    """What values and decisions depend on in a stream: columns of fields of `Recorded`.

    Each begins with version 1; no version is missing.
    """

    types: Sequence[str] = ()
    schemas: Sequence[int] = ()
    datas: Sequence[bytes] = ()
    positions: Sequence[int] = ()
    command_ids: Sequence[str] = ()
    command_nos: Sequence[int] = ()


class Past(NamedTuple):
    """An event of a stream's history: the value that it means, and where it stands."""

    value: object
    position: int
    command_id: str


class Valued(Protocol):
    """What has the value of an event, wherever it stands: an `Event`, a `Past`."""

    @property
    def value(self) -> object:
        """Return the value."""
        ...


# --- commands and their outcomes --------------------------------------------------


class NewEvent(NamedTuple):
    """An encoded event that has no place in the log yet."""

    type: str
    schema: int
    data: bytes
    metadata: bytes


class Write(NamedTuple):
    """Events for one stream; `expected` is the version before them, None for any version."""

    stream: str
    expected: int | None
    events: tuple[NewEvent, ...]


class Claim(NamedTuple):
    """A value that only one stream may hold, such as a user name."""

    kind: str
    value: str
    stream: str


class Key(NamedTuple):
    """The key of a subject's sealed fields, wrapped by the vault; None once it was erased.

    `erased_at` is µs since 1970 UTC. An erased key wins over any other, and never comes back.
    """

    subject: str
    wrapped: bytes | None
    erased_at: int | None = None

    def __repr__(self) -> str:
        return f"Key(subject={self.subject!r}, erased_at={self.erased_at!r})"


class Tracking(NamedTuple):
    """Up to which position the events of another application's log have been processed here."""

    application: str
    position: int


class Tracked(NamedTuple):
    """The tracking of an application as it stands, and the command that it came with."""

    application: str
    position: int
    command_id: str


class Command(NamedTuple):
    """What goes in as a whole or not at all: at least one write, each with an event, or a tracking.

    All its streams belong to one partition. Claims are released before others are taken. `keys`
    are new ones, and erased ones of subjects that are to be forgotten. Trackings only go forward.
    """

    id: str
    writes: tuple[Write, ...]
    takes: tuple[Claim, ...] = ()
    releases: tuple[Claim, ...] = ()
    keys: tuple[Key, ...] = ()
    trackings: tuple[Tracking, ...] = ()


class Appended(NamedTuple):
    """A command is in the log; these are the facts of its last event.

    `again` tells that the command was in the log before: this is its first outcome. That of
    trackings alone names no stream, and where the log ends.
    """

    partition: int
    position: int
    stream: str
    version: int
    again: bool = False


Outcome = Appended | Refused | Conflict


# --- the log ----------------------------------------------------------------------


class EventLog(Protocol):
    """An append-only log of events with dense positions."""

    @property
    def partitions(self) -> int:
        """Return how many partitions there are; that never changes."""
        ...

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        """Append each command whole or not at all and return one outcome for each, in order.

        A member that conflicts or is refused (`Claimed`, `CommandIdTaken`, `KeyErased`,
        `AlreadyTracked`, `Moved`, `Filling`) does not disturb the others; a later member sees what
        an earlier one did: first go those of the partition of the first member, then those of the
        next one. A command whose id is in the log already gives its first outcome,
        whatever else it holds. Trackings alone are known again as long as they stand.

        Raises `Unavailable` when the store stays silent: the same commands may then be in the
        log or not, and appending them again tells which.
        """
        ...

    def stream(self, stream: str, after: int = 0) -> list[Recorded]:
        """Return the events of `stream` behind version `after`, in the order of their versions."""
        ...

    def history(self, stream: str) -> History:
        """Return what decisions need of the events of `stream`: the same ones as `stream` does."""
        ...

    def family(self, family: str) -> list[Recorded]:
        """Return the events of all streams of `family` in the order of their positions."""
        ...

    def page(self, partition: int, after: int, limit: int) -> list[Recorded]:
        """Return up to `limit` events behind position `after`, in order, without a hole.

        Fewer where those would have more than 16 MiB, and at least one that is there.
        """
        ...

    def outcome(self, command_id: str) -> Appended | None:
        """Return the first outcome of a command, None when none of that id is in the log."""
        ...

    def holder(self, kind: str, value: str) -> str | None:
        """Return the stream that holds a claim, None when nobody does."""
        ...

    def streams(self, streams: Collection[str]) -> list[Recorded]:
        """Return the events of several streams, those of each in the order of their versions."""
        ...

    def holders(self, claims: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return the holders of those claims, each a kind and a value, that somebody holds."""
        ...

    def tracked(self, application: str) -> Tracked | None:
        """Return the tracking of an application, None when none of its events was processed."""
        ...


# --- the store around the log -----------------------------------------------------


class State(Enum):
    """What a store does with commands: takes them, waits for a copy's end, or sends them on."""

    OPEN = "open"
    FILLING = "filling"
    SEALED = "sealed"


Expected = State | tuple[State, str | None] | None
"""How a store has to be: in a state, and with that successor where one is given, or anyhow."""


@dataclass(frozen=True, slots=True)
class Head:
    """Where a partition stands; `position` is 0 when it is empty."""

    partition: int
    position: int
    state: State
    successor: str | None


def ends(heads: Iterable[Head]) -> Positions:
    """Return where the partitions end, given all of their heads in order."""
    return Positions(tuple(head.position for head in heads))


@dataclass(frozen=True, slots=True)
class Identity:
    """`store_id` names this place, `log_id` the history that it holds: copies share the latter."""

    store_id: str
    log_id: str


@dataclass(frozen=True, slots=True)
class Seal:
    """The hash chain of a partition up to a position that is a multiple of the grid."""

    partition: int
    position: int
    chain: bytes


class Heads(Protocol):
    """A store as operators see it: its names, its heads and its state."""

    def identity(self) -> Identity:
        """Return the ids of this store."""
        ...

    def heads(self) -> list[Head]:
        """Return the head of every partition, in order."""
        ...

    def change_state(
        self,
        state: State,
        *,
        expected: Expected = None,
        at: Positions | None = None,
        successor: str | None = None,
        log_id: str | None = None,
    ) -> list[Head]:
        """Put the store into `state` and return the heads at that instant.

        Waits for appends that are under way; none goes in behind it unless `state` is open.
        `log_id`, when given, becomes the store's: a copy takes its source's. Raises a `Refused`
        (`Moved`, `Filling`) and changes nothing unless the store is as `expected`, and
        `EndsElsewhere` unless its log ends `at` those positions.
        """
        ...


class Seals(Protocol):
    """The seals of a log."""

    def seals(self, partition: int) -> list[Seal]:
        """Return the seals of `partition` in the order of their positions."""
        ...

    def add_seals(self, seals: Sequence[Seal]) -> None:
        """Keep `seals`; one that stands already is left as it is."""
        ...


class Keys(Protocol):
    """The keys of sealed fields: all that a store keeps that is neither log nor fold."""

    def keys(self, subjects: Sequence[str] | None = None) -> list[Key]:
        """Return the keys of `subjects`, or all, in the order of their subjects."""
        ...

    def merge_keys(self, keys: Sequence[Key]) -> None:
        """Keep those of `keys` whose subject is new, and erase those that come in erased."""
        ...


class Snapshot(NamedTuple):
    """The state of an aggregate at a version of its stream; it can be made of the events again."""

    stream: str
    version: int
    type: str
    data: bytes


class Snapshots(Protocol):
    """A cache of states, which no copy carries."""

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> bool:
        """Keep all of `snapshots`; none, and tell so, where there is one of a version already."""
        ...

    def snapshots(self, stream: str, after: int, until: int, limit: int) -> list[Snapshot]:
        """Return up to `limit` snapshots, newest first, with `after` < version <= `until`."""
        ...


class Beside(NamedTuple):
    """What a store keeps beside its events, and the heads at that instant.

    Claims are in the order of kind and value, trackings in that of their applications.
    """

    heads: list[Head]
    claims: list[Claim]
    trackings: list[Tracked]

    @property
    def positions(self) -> Positions:
        """Return where the log ended at that instant."""
        return ends(self.heads)


class Replica(Protocol):
    """What a copy reads and writes beside the events."""

    def receive(self, records: Sequence[Recorded]) -> None:
        """Append `records` exactly as they are, behind the head of their partition.

        Records that stand at the head already were received before; doing it again is no error.
        Raises `Refused` unless the store is filling and the positions follow the head.
        """
        ...

    def create_indexes(self) -> None:
        """Create the indexes that a log does without while it is filled from its first event on.

        Until then all but pages are read slowly. A store that opens has them: who opens it creates
        those that are missing. It may take a second for half a million events, and nobody else
        writes meanwhile.
        Raises `Refused` when two events have the same stream and version, or the same command id.
        """
        ...

    def claims(self) -> Beside:
        """Return the heads, all claims and all trackings at one instant."""
        ...

    def replace_claims(
        self, claims: Sequence[Claim], trackings: Sequence[Tracked], positions: Positions
    ) -> bool:
        """Make these the only claims and trackings if the log ends at `positions`, and tell so.

        Raises `Refused` unless the store is filling.
        """
        ...


class Log(EventLog, Heads, Seals, Keys, Snapshots, Replica, Protocol):
    """Everything that a backend of the log offers."""

    def close(self) -> None:
        """Let go of files and connections; a closed log is not used again."""
        ...


# --- blobs ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes that are kept under their SHA-256, 64 lower-case hex digits; `size` counts them."""

    sha256: str
    size: int


class Blobs(Protocol):
    """Contents of any size, each kept once, under its SHA-256.

    A content is there whole or not at all, for every reader at every time. A name that is not 64
    lower-case hex digits is refused with `NotASha256` before anything else happens. Raises
    `Unavailable` when the place where blobs are kept fails, `NoSpace` when it is full; every
    method can then be called again.
    """

    @property
    def place(self) -> object:
        """Return what blobs of the same place have in common, and no others."""
        ...

    def put(
        self, chunks: Iterable[bytes], *, expected: str | None = None, cap: int | None = None
    ) -> Blob:
        """Keep the content that `chunks` make together, and return its name and size.

        When it returns, the content outlives a crash. Keeping the same content again is no error.
        Raises `WrongHash` when `expected` is not its SHA-256, and `TooLarge` as soon as it has
        more than `cap` bytes, without reading on. What `chunks` raises comes out as it is. After
        any of these nothing of it is kept.
        """
        ...

    def get(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Return the bytes `content[start:end]` in chunks; `start` and `end` count from 0.

        Raises `NoSuchBlob` at once when there is none, and `BadInput` for a negative number. A
        range may reach beyond the end. Without a range the SHA-256 is computed along the way and
        the last chunk comes only if it is right, else `BlobDiffers`; a range is not checked.
        """
        ...

    def head(self, sha256: str) -> Blob | None:
        """Return name and size of what is kept, None when there is nothing; bytes are not read."""
        ...

    def delete(self, sha256: str) -> None:
        """Keep the content no longer; there being none is no error."""
        ...

    def list(self) -> Iterator[Blob]:
        """Return all blobs in the order of their names.

        What is put or deleted meanwhile may be among them or not.
        """
        ...
