"""A repository behind git-proxy: its record, and who may push to it or approve what is pushed.

A record stands here without `_id` and `users`, which are the stream's and the permissions'. All
its other fields are kept as they came, unknown ones too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final, Literal, NamedTuple, assert_never

from refold.domain.errors import BadInput, Refused
from refold.domain.texts import LONE_SURROGATE, IllFormedText, check_word

Document = Mapping[str, object]
Role = Literal["canPush", "canAuthorise"]

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """The repository became known, or known again after its removal; nobody may use it yet."""

    id: str
    document: Document


@dataclass(frozen=True, slots=True)
class Changed:
    """The fields named in `unset` went, those in `fields` were set; the others stay."""

    fields: Document
    unset: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AccessGranted:
    """Somebody, named in lower case, got a role, behind those who have it."""

    role: str
    username: str
    at: str


@dataclass(frozen=True, slots=True)
class AccessRevoked:
    role: str
    username: str
    at: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The repository went, and with it the roles of those who are named."""

    revoked_push: tuple[str, ...]
    revoked_authorise: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """A legacy record replaced everything; the roles of those who are `revoked` went."""

    id: str
    document: Document
    can_push: tuple[str, ...]
    can_authorise: tuple[str, ...]
    revoked_push: tuple[str, ...]
    revoked_authorise: tuple[str, ...]


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "repo.registered": Registered,
    "repo.changed": Changed,
    "repo.access_granted": AccessGranted,
    "repo.access_revoked": AccessRevoked,
    "repo.removed": Removed,
    "repo.imported": Imported,
}

Event = Registered | Changed | AccessGranted | AccessRevoked | Removed | Imported

# --- state --------------------------------------------------------------------


class Repo(NamedTuple):
    """`url` is empty where an imported record has none; names stand in the order of grant."""

    known: bool = False
    id: str = ""
    url: str = ""
    can_push: tuple[str, ...] = ()
    can_authorise: tuple[str, ...] = ()

    def having(self, role: str) -> tuple[str, ...]:
        """Return who has a role, in the order of grant."""
        return self.can_push if role == "canPush" else self.can_authorise


def evolve(repo: Repo, event: Event) -> Repo:
    match event:
        case Registered(id, document):
            return Repo(True, id, _text(document.get("url")))
        case Imported(id, document, can_push, can_authorise):
            return Repo(True, id, _text(document.get("url")), can_push, can_authorise)
        case Changed(fields):
            return repo._replace(url=_text(fields.get("url", repo.url)))
        case AccessGranted(role, username):
            return _with(repo, role, (*repo.having(role), username))
        case AccessRevoked(role, username):
            return _with(repo, role, tuple(n for n in repo.having(role) if n != username))
        case Removed():
            return Repo()
        case _:
            assert_never(event)


def after(*events: Event) -> Repo:
    return reduce(evolve, events, Repo())


def _with(repo: Repo, role: str, names: tuple[str, ...]) -> Repo:
    if role == "canPush":
        return repo._replace(can_push=names)
    return repo._replace(can_authorise=names)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


# --- the view -----------------------------------------------------------------


def view(events: Iterable[Event]) -> Document | None:
    """Return git-proxy's record after `events`, None when there is no repository."""
    return reduce(view_after, events, None)


def view_after(document: Document | None, event: Event) -> Document | None:
    """Return the record after one more event: without a project it shows an empty one.

    An imported record shows what it holds. A change of permissions is a modification, also of a
    record that has no dates.
    """
    match event:
        case Registered(_, new):
            return {**new, "project": new.get("project") or ""}
        case Imported(document=imported):
            return imported
        case Removed():
            return None
    if document is None:
        return None
    match event:
        case Changed(fields, unset):
            return {name: document[name] for name in document if name not in unset} | dict(fields)
        case AccessGranted(at=at) | AccessRevoked(at=at):
            return {**document, "lastModified": at}
        case _:
            assert_never(event)


# --- decisions ----------------------------------------------------------------

LONGEST_TEXT: Final = 1_024
"""UTF-8 bytes of a url, and of a name in an imported record: claims and tables index them."""


class UnknownRepo(Refused):
    """There is no repository with this id."""


class AlreadyRegistered(Refused):
    """A repository is registered once, until it is removed."""


class EmptyField(Refused):
    """A repository has a name and a url, and neither is blank."""


class ReservedField(BadInput):
    """The id and the users of a repository are no fields of its record."""


def register(repo: Repo, id: str, document: Document, at: str) -> list[Event]:
    """Make a repository known, its name in lower case; dates that are missing are `at`."""
    check_word("repo id", id)
    if repo.known:
        raise AlreadyRegistered(f"repo {id} is already registered")
    dates = {name: document.get(name) or at for name in ("dateCreated", "lastModified")}
    return [Registered(id, _checked({"name": "", "url": "", **document, **dates}))]


def change(repo: Repo, fields: Document, unset: Collection[str] = ()) -> list[Event]:
    """Set some fields and let others go; there being no such repository is no error."""
    for name in unset:
        _checked({name: ""})  # what must not be blank cannot go either
    new = _checked(fields)
    return [Changed(new, tuple(sorted(set(unset))))] if repo.known and (new or unset) else []


def grant(repo: Repo, id: str, role: Role, username: str, at: str) -> list[Event]:
    """Give somebody a role; who has it already keeps it, whatever the case of the name."""
    _check_known(repo, id)
    username = username.lower()
    check_word("username", username)
    return [] if username in repo.having(role) else [AccessGranted(role, username, at)]


def revoke(repo: Repo, id: str, role: Role, username: str, at: str) -> list[Event]:
    """Take a role from somebody; of who does not have it, it is a modification alone."""
    _check_known(repo, id)
    username = username.lower()
    if username in repo.having(role):
        return [AccessRevoked(role, username, at)]
    return [Changed({"lastModified": at}, ())]


def remove(repo: Repo) -> list[Event]:
    """Forget a repository; there being none is no error."""
    return [Removed(repo.can_push, repo.can_authorise)] if repo.known else []


def import_record(
    repo: Repo, id: str, document: Document, can_push: Iterable[str], can_authorise: Iterable[str]
) -> list[Event]:
    """Take over a legacy record as it is; `_id` and `users` in it are left out.

    The names that have a role are kept in their order, in lower case, each once.
    """
    check_word("repo id", id)
    _check_indexed("url", _text(document.get("url")))
    push, authorise = _collapsed(can_push), _collapsed(can_authorise)
    kept = {name: value for name, value in document.items() if name not in _RESERVED}
    revoked_push = tuple(name for name in repo.can_push if name not in push)
    revoked_authorise = tuple(name for name in repo.can_authorise if name not in authorise)
    return [Imported(id, kept, push, authorise, revoked_push, revoked_authorise)]


# --- what a repository's fields may be --------------------------------------------

_RESERVED: Final = ("_id", "users")


def _check_known(repo: Repo, id: str) -> None:
    if not repo.known:
        raise UnknownRepo(f"Repo not found: there is none with id {id}")


def _checked(fields: Document) -> Document:
    """Return what a command sets, with the name in lower case."""
    for name in _RESERVED:
        if name in fields:
            raise ReservedField(f"field {name} of a repo is not set like the others")
    if "url" in fields:
        _check_indexed("url", _filled("URL", fields["url"]))
    if "name" not in fields:
        return fields
    name = _filled("Repository name", fields["name"]).lower()
    check_word("repo name", name)
    return {**fields, "name": name}


def _filled(what: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise EmptyField(f"{what} cannot be empty, and is a text: {value!r:.40} is not")
    return value


def _collapsed(names: Iterable[str]) -> tuple[str, ...]:
    collapsed = tuple(dict.fromkeys(name.lower() for name in names))
    for name in collapsed:
        _check_indexed("username", name)
    return collapsed


def _check_indexed(what: str, text: str) -> None:
    """Raise `IllFormedText`, which does not show the text: a url may have a password in it."""
    if "\0" in text or LONE_SURROGATE.search(text):
        raise IllFormedText(f"the {what} of a repo holds a NUL character or a lone surrogate")
    if len(text.encode()) > LONGEST_TEXT:
        raise IllFormedText(f"the {what} of a repo is longer than {LONGEST_TEXT} bytes")
