"""Who is to be erased, by which names they are known, and what the log holds of theirs."""

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast, get_args

from refold.domain import attachment, media, repo, session, streams, uploads, user
from refold.domain.ports import Event, Past, Recorded
from refold.domain.positions import Positions
from refold.domain.sealing import Sealed
from refold.domain.texts import LONE_SURROGATE
from refold.infrastructure import chain
from refold.infrastructure.blobs.references import References
from refold.infrastructure.erasing import seeking
from refold.infrastructure.erasing.seeking import Value
from refold.infrastructure.progress import Progress
from refold.infrastructure.requests import media as media_requests
from refold.infrastructure.requests import users as requests
from refold.infrastructure.requests.repos import RevokeRepo
from refold.infrastructure.store import Store


class Person(NamedTuple):
    """A user to be erased, or one that was: then nothing that was sealed can be read any more.

    `names` are what sessions, roles and uploads call them; `given` is how they were asked for. The
    history of who was erased ends there, also when the id was taken since.
    """

    id: str
    given: str
    names: frozenset[str]
    history: Sequence[Past]
    again: bool

    @property
    def stream(self) -> str:
        return requests.stream(self.id)

    @property
    def subjects(self) -> Set[str]:
        """Return what their sealed fields are named after, now and before former erasures."""
        return {
            event.value.subject
            for event in self.history
            if isinstance(event.value, user.Registered | user.Imported | user.Erased)
        }

    @property
    def state(self) -> user.User:
        return requests.state(self.history)


def find(store: Store, name: str) -> Person:
    """Return who has a user name, or had it when they were erased, or else who has that id.

    Raises `UnknownUser`.
    """
    if "\0" in name or LONE_SURROGATE.search(name):
        raise user.UnknownUser("there is nobody of that name or id")
    holder = store.log.holder(user.NAME, name.lower())
    erased = None if holder else _erased_under(store, name)
    return _person(store, name, holder or erased or requests.stream(name), erased)


def find_by_id(store: Store, id: str) -> Person:
    """Return the user who has, or had, an id. Raises `UnknownUser`."""
    return _person(store, id, requests.stream(id), None)


def _person(store: Store, given: str, stream: str, erased: str | None) -> Person:
    history = store.history(stream)
    known = requests.state(history)
    if not (known.subject or known.erasures):
        raise user.UnknownUser("there is nobody of that name or id, and nobody was erased under it")
    again = erased is not None or not known.subject
    names = _names(store, given, history, again)
    return Person(_id(history), given, names, _erased_part(history) if again else history, again)


def _erased_part(history: Sequence[Past]) -> Sequence[Past]:
    """Return a history up to the last erasure."""
    ends = [number for number, event in enumerate(history, 1) if _is_erasure(event)]
    return history[: ends[-1]]


def _is_erasure(event: Past) -> bool:
    return isinstance(event.value, user.Erased)


def command_id(store: Store, name: str, number: int) -> str:
    """Return the id of the command that erases the `number`th bearer of a user name.

    It tells the name to nobody without the vault's key, and leads whoever knows it to that user.
    """
    return f"erase-{store.vault.blind('erased user name', name)}-{number}"


def next_command_id(store: Store, person: Person) -> str:
    """Return the id of the command that erases somebody."""
    name = _username(person.state) or person.given
    number = 1
    while store.log.outcome(command_id(store, name, number)):
        number += 1
    return command_id(store, name, number)


def _erased_under(store: Store, name: str) -> str | None:
    """Return the stream of the last one who was erased under that name."""
    number, stream = 1, None
    while outcome := store.log.outcome(command_id(store, name, number)):
        number, stream = number + 1, outcome.stream
    return stream


def _id(history: Sequence[Past]) -> str:
    return next(
        event.value.id
        for event in reversed(history)
        if isinstance(event.value, user.Registered | user.Imported)
    )


def _names(store: Store, given: str, history: Sequence[Past], again: bool) -> frozenset[str]:
    """Return the id and all names that this user had and nobody else has now."""
    known = requests.state(history)
    stream = requests.stream(_id(history))
    had = {name for event in history if (name := _named(event.value))}
    if again:
        had.add(given.lower())
    if not (again and known.subject):  # else the id is somebody's again
        had.add(_id(history))
    holders = store.log.holders([(user.NAME, name.lower()) for name in had])
    return frozenset(
        name for name in had if holders.get((user.NAME, name.lower()), stream) == stream
    )


def _named(value: object) -> str | None:
    match value:
        case user.Registered(profile=profile) | user.Imported(profile=profile):
            return _text(user.parsed(profile).get("username"))
        case user.Changed(profile=profile):
            return _text(user.parsed(profile).get("username"))
        case _:
            return None


def _username(known: user.User) -> str | None:
    return _text(known.profile.get("username"))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


# --- values -----------------------------------------------------------------------------


def values(store: Store, person: Person, sessions: Collection[str]) -> Iterator[Value]:
    """Yield what was sealed of somebody, now and ever, their keys, and what is in `sessions`."""
    named = person.given.lower() in person.names and person.given != person.id
    known = {Value(seeking.NAME, person.given.lower())} if named else set[Value]()
    known |= {value for event in person.history for value in _values(store, event.value)}
    yield from known
    public = {text.lower() for text in (*person.names, *(value.text for value in known))}
    for stream in sessions:
        for value in seeking.of_session(_body(store, stream)):
            if value.text.lower() not in public:  # else it is sought as what it is
                yield value


def _values(store: Store, value: object) -> Iterator[Value]:
    match value:
        case user.Registered() | user.Changed() | user.Imported():
            yield from seeking.of_profile(user.parsed(value.profile))
            if isinstance(value.password, Sealed):
                hash = store.vault.open(value.password)
                if isinstance(hash, str):
                    yield Value(seeking.PASSWORD, hash)
        case user.KeyAdded(record=record):
            yield from seeking.of_key(record)
        case user.DeviceAdded(id, record):
            yield from seeking.of_device(id, record)
    if isinstance(value, user.Imported):
        for record in value.keys:
            yield from seeking.of_key(record)


def _body(store: Store, stream: str) -> str:
    found = session.after(*(event.value for event in store.history(stream)))  # type: ignore[arg-type]
    opened = store.vault.open(found.body) if isinstance(found.body, Sealed) else None
    return opened if isinstance(opened, str) else ""


# --- what is theirs ---------------------------------------------------------------------


@dataclass(slots=True)
class Upload:
    """A content that somebody uploaded, and the names that the log has for them there."""

    content: str
    uploaders: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Belongings:
    """Streams of the sessions of a person that are not over, roles, and uploads with contents.

    `uploads` are by stream. `contents` are those of their uploads, deleted ones included, and
    `subjects` what their sessions were ever sealed under.
    """

    sessions: set[str] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)
    roles: list[RevokeRepo] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    contents: set[str] = field(default_factory=set)


def belongings(store: Store, names: Collection[str], progress: Progress) -> Belongings:
    """Return what the log holds of whom it calls by one of `names`.

    Among uploads are those of the same contents that nobody has a part in any more.

    Raises `UnknownType` and `Undecodable`.
    """
    found = Belongings()
    repos: dict[str, repo.Repo] = {}
    withdrawn = set[str]()
    for event in _events(store, frozenset({"session", "repo", "media", "attachment"}), progress):
        stream, value = event.recorded.stream, event.value
        match value:
            case session.Started() | session.Changed():
                if _is_one(value.user, names):
                    found.sessions.add(stream)
                    found.subjects.add(value.subject)
            case session.Ended() | session.Expired():
                found.sessions.discard(stream)
            case media.Withdrawn(uploader):
                withdrawn.add(stream)
                _withdraw(found, stream, uploader)
            case (
                media.Stored()
                | media.StoredAgain()
                | media.Imported()
                | attachment.Created()
                | attachment.Imported()
            ):
                if _is_one(value.uploader, names):
                    upload = found.uploads.setdefault(stream, Upload(value.blobs[uploads.CONTENT]))
                    upload.uploaders.add(value.uploader)
                    found.contents.add(upload.content)
            case media.Deleted() | attachment.Deleted():
                found.uploads.pop(stream, None)
            case _ if streams.kind(stream) == "repo":
                before = repos.get(stream, repo.Repo())
                repos[stream] = repo.evolve(before, cast("repo.Event", value))
    for stream in withdrawn:
        left = media_requests.state(store.history(stream))
        if left.known and not left.uploaders and left.content_hash in found.contents:
            found.uploads[stream] = Upload(left.content_hash)
    lower = {name.lower() for name in names}
    for known in repos.values():
        roles: tuple[repo.Role, ...] = get_args(repo.Role)
        found.roles += (
            RevokeRepo(id=known.id, role=role, username=name)
            for role in roles
            for name in known.having(role)
            if name in lower
        )
    return found


def _withdraw(found: Belongings, stream: str, uploader: str) -> None:
    upload = found.uploads.get(stream)
    if upload:
        upload.uploaders.discard(uploader)
        if not upload.uploaders:
            del found.uploads[stream]


def _is_one(name: str | None, names: Collection[str]) -> bool:
    """Tell whether one of `names` is meant; user names are compared in lower case."""
    return name is not None and (name in names or name.lower() in names)


_DELETED: Final = frozenset({"media.deleted", "attachment.deleted"})
_WITHDRAWN: Final = "media.withdrawn"


def used_by_others(
    store: Store, contents: Collection[str], names: Collection[str], until: Positions
) -> set[str]:
    """Return those of `contents` that uploads of others, or pushes, need at `until`.

    Raises `UnknownType` and `Undecodable`.
    """
    sought = frozenset(contents)
    if not sought:
        return set()
    users: dict[str, dict[str | None, dict[str, int]]] = {}  # a deletion names the stream alone
    removed = References(store.codec)
    for page in _pages(store, until):
        removed.over(page)
        for record in page:
            named = sought.intersection(store.codec.blobs(record))
            if named and not _is_one(uploader := _uploader(store, record), names):
                theirs = users.setdefault(record.stream, {}).setdefault(uploader, {})
                theirs.update(dict.fromkeys(named, record.position))
            elif record.type == _WITHDRAWN:
                users.get(record.stream, {}).pop(_uploader(store, record), None)
            elif record.type in _DELETED:
                users.pop(record.stream, None)
    return {
        sha256
        for stream, theirs in users.items()
        for needed in theirs.values()
        for sha256, position in needed.items()
        if position > removed.removed_until(sha256)[store.partition(stream)]
    }


def _pages(store: Store, until: Positions) -> Iterator[list[Recorded]]:
    """Yield all events up to `until`, partition after partition."""
    for partition, end in enumerate(until.each):
        yield from chain.pages(store.log, partition, 0, end)


def uploads_with(store: Store, removed: Mapping[str, Positions]) -> dict[str, Upload]:
    """Return uploads that are not deleted, as `Belongings` does.

    Their contents are among those that were `removed`, each up to some positions.
    """
    found: dict[str, Upload] = {}
    until = Positions(())
    for each in removed.values():
        until = until.joined(each)
    for page in _pages(store, until):
        for record in page:
            if streams.kind(record.stream) in ("media", "attachment"):
                for sha256 in store.codec.blobs(record):
                    if sha256 in removed and record.position <= removed[sha256][record.partition]:
                        upload = found.setdefault(record.stream, Upload(sha256))
                        upload.uploaders.add(_uploader(store, record) or "")
    for stream in list(found):
        if any(record.type in _DELETED for record in store.log.stream(stream)):
            del found[stream]
    return found


def needed(store: Store, contents: Collection[str]) -> set[str]:
    """Return those of `contents` that an event refers to, and no event says were removed since."""
    found = References(store.codec)
    for page in _pages(store, store.advance.head()) if contents else ():
        found.over(page)
    return set(filter(found.needed, contents))


def _uploader(store: Store, record: Recorded) -> str | None:
    uploader: str | None = getattr(store.codec.decode(record).value, "uploader", None)
    return uploader


def _events(store: Store, kinds: frozenset[str], progress: Progress) -> Iterator[Event]:
    until, done = store.advance.head(), 0
    for page in _pages(store, until):
        for _, event in store.codec.decode_kinds(page, kinds):
            yield event
        done += len(page)
        progress("read", done, until.total)
