"""Everything that refold refuses, ordered by what the caller can do about it.

    Failure
    ├── Refused        tell the person: asking again gives the same answer
    │   ├── BadInput
    │   ├── AlreadyTracked, Claimed, CommandIdTaken, KeyErased
    │   ├── NoVaultKey, WrongVaultKey, NoPlaceForBlobs
    │   ├── Filling, Moved, ForeignTarget
    │   ├── NoSuchBlob, TooLarge, WrongHash
    │   └── … one class per rule of an aggregate, defined beside it
    ├── Conflict       read again, decide again
    ├── Unreadable     stop and look
    │   ├── BlobDiffers, BrokenLog, LogWentBack
    │   ├── NewerSchema, OlderSchema, StaleProjection
    │   └── KeyParked, Undecodable, Unfoldable, UnknownType
    └── Unavailable    retry the same, with the same command id
        └── DamagedTables, NoSpace, NoSuchStore

The message of each is one sentence with the values in it; the attributes carry the facts.
"""

from collections.abc import Sequence


class Failure(Exception):
    """The root of every error that refold raises on purpose. It can be handed to a process."""

    def __reduce__(self) -> tuple[object, ...]:
        """Return how another process makes it again: message and facts, whatever made them."""
        return _made_again, (type(self), self.args), self.__dict__


def _made_again(failure: type[Failure], args: tuple[object, ...]) -> Failure:
    return failure.__new__(failure, *args)


# --- tell the person ------------------------------------------------------------


class Refused(Failure):
    """The answer is no, and it stays no."""


class BadInput(Refused):
    """What was given cannot be read: a truncated file, a malformed argument."""


class Claimed(Refused):
    """A value that has to be unique belongs to another stream."""

    def __init__(self, kind: str, holder: str) -> None:
        super().__init__(f"this {kind} is already taken by {holder}")
        self.kind = kind
        self.holder = holder


class CommandIdTaken(Refused):
    """A command id was used before, for another stream."""

    def __init__(self, command_id: str, stream: str) -> None:
        super().__init__(f"command id {command_id} was already used on {stream}")
        self.command_id = command_id
        self.stream = stream


class KeyErased(Refused):
    """The key of a subject was destroyed; nothing is sealed for that subject again."""

    def __init__(self, subject: str) -> None:
        super().__init__(f"what was sealed for {subject} is erased, and stays so")
        self.subject = subject


class AlreadyTracked(Refused):
    """Events of another application were processed before, up to this position or beyond it."""

    def __init__(self, application: str, position: int, stands: int) -> None:
        super().__init__(
            f"events of {application} are processed up to position {stands} already, so event"
            f" {position} is not processed again"
        )
        self.application = application
        self.position = position
        self.stands = stands


class NoVaultKey(Refused):
    """The store has sealed fields, and the key that they need is not at hand."""


class NoPlaceForBlobs(Refused):
    """Large contents need a place beside the database, and none is named."""

    def __init__(self) -> None:
        super().__init__(
            "no place for large contents is named: set REFOLD_BLOBS to a folder, or [storage.media]"
        )


class WrongVaultKey(Refused):
    """The key that is at hand is not the one that the store's fields are sealed with."""


class Moved(Refused):
    """The store is sealed; its history goes on at `successor` (an address without password)."""

    def __init__(self, successor: str) -> None:
        super().__init__(f"this store has moved to {successor}")
        self.successor = successor


class Filling(Refused):
    """The store is the target of an unfinished copy and takes no commands yet."""

    def __init__(self) -> None:
        super().__init__("this store is being filled by a copy; finish the copy first")


class EndsElsewhere(Refused):
    """The log does not end where it has to for what was asked."""


class ForeignTarget(Refused):
    """The target of a copy holds events that the source does not have."""


class NoSuchBlob(Refused):
    """No content is kept under this SHA-256."""

    def __init__(self, sha256: str) -> None:
        super().__init__(f"there is no blob {sha256}")
        self.sha256 = sha256


class TooLarge(Refused):
    """A content has more bytes than the caller allows."""

    def __init__(self, cap: int) -> None:
        super().__init__(f"the content is larger than {cap} bytes")
        self.cap = cap


class WrongHash(Refused):
    """A content is not the one that the caller named."""

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"the content has SHA-256 {actual}, not {expected}")
        self.expected = expected
        self.actual = actual


# --- read again, decide again -----------------------------------------------------


class Conflict(Failure):
    """The stream is not at the version that the caller saw."""

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"{stream} is at version {actual}, not {expected}")
        self.stream = stream
        self.expected = expected
        self.actual = actual


# --- stop and look ----------------------------------------------------------------


class Unreadable(Failure):
    """Something stored is not what it should be; nothing is guessed."""


class UnknownType(Unreadable):
    """The log holds an event type or schema that this version of refold does not know."""

    def __init__(self, position: int, type: str, schema: int) -> None:
        super().__init__(
            f"event {position}: event type {type} with schema {schema} is not known to this version"
            " of refold"
        )
        self.position = position
        self.type = type
        self.schema = schema


class Undecodable(Unreadable):
    """The data of an event is not what its type and schema promise."""

    def __init__(self, position: int, type: str, why: str) -> None:
        super().__init__(f"event {position} of type {type} cannot be decoded: {why}")
        self.position = position
        self.type = type


class Unfoldable(Unreadable):
    """A projection cannot even tell which rows an event touches."""

    def __init__(self, projection: str, position: int, why: str) -> None:
        super().__init__(f"table {projection} cannot be folded at event {position}: {why}")
        self.projection = projection
        self.position = position


class KeyParked(Unreadable):
    """A row is not up to date: its projection failed at one of its events."""

    def __init__(self, projection: str, key: Sequence[str], position: int, why: str) -> None:
        super().__init__(
            f"the row {' '.join(key)} of table {projection} is parked at event {position}: {why};"
            " once its projection is mended, fold it again with refold retry"
        )
        self.projection = projection
        self.key = tuple(key)
        self.position = position


class NewerSchema(Unreadable):
    """The store was made by a newer refold."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"the store has schema {found}, this version of refold knows up to {known}"
        )
        self.found = found
        self.known = known


class OlderSchema(Unreadable):
    """The store was made by an older refold and has to be brought up to date."""

    def __init__(self, found: str, known: str) -> None:
        super().__init__(
            f"the store has schema {found}, this version of refold works with {known};"
            " bring it up to date with refold init"
        )
        self.found = found
        self.known = known


class BrokenLog(Unreadable):
    """A hole, or a seal that does not fit its events: damage or tampering."""

    def __init__(self, partition: int, first: int, last: int, what: str) -> None:
        super().__init__(
            f"partition {partition} is damaged between positions {first} and {last}: {what}"
        )
        self.partition = partition
        self.first = first
        self.last = last


class BlobDiffers(Unreadable):
    """The bytes of a blob are no longer those that were put."""

    def __init__(self, sha256: str, actual: str) -> None:
        super().__init__(f"blob {sha256} is damaged: its bytes have SHA-256 {actual}")
        self.sha256 = sha256
        self.actual = actual


class LogWentBack(Unreadable):
    """A query table was folded from events that the log no longer has."""

    def __init__(self, projection: str, position: str) -> None:
        super().__init__(
            f"table {projection} was folded up to position {position}, where the log now holds"
            " another event or none; fold the tables again with refold rebuild"
        )
        self.projection = projection
        self.position = position


class StaleProjection(Unreadable):
    """A query table was folded by another version of its projection."""

    def __init__(self, projection: str, found: int, known: int) -> None:
        super().__init__(
            f"table {projection} was folded by version {found}, this refold has version {known};"
            f" fold it again with refold rebuild {projection}"
        )
        self.projection = projection
        self.found = found
        self.known = known


# --- retry the same ---------------------------------------------------------------


class Unavailable(Failure):
    """The store cannot be reached, or did not say whether a command went in.

    Trying again with the same command id is always safe.
    """


class NoSuchStore(Unavailable):
    """There is no store at this address."""

    def __init__(self, address: str) -> None:
        super().__init__(f"there is no store at {address}; create it with refold init")
        self.address = address


class DamagedTables(Unavailable):
    """The file of the query tables makes no sense; the log does not need it."""

    def __init__(self, path: str, why: str, mend: str) -> None:
        super().__init__(
            f"the query tables in {path} are damaged: {why}; delete them while nobody uses the"
            f" store, and they are folded again: {mend}"
        )
        self.path = path
        self.mend = mend


class NoSpace(Unavailable):
    """The place where something was to be kept is full."""
