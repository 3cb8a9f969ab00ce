"""A push through git-proxy: the document that was audited, and what reviewers decided about it.

Whole documents are facts. Every decision is kept, whatever came before it; the *view* is what
git-proxy itself would have stored after all of them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Final, Literal, NamedTuple, assert_never

from refold.domain.errors import BadInput, Refused
from refold.domain.texts import check_word

Document = Mapping[str, object]
Blobs = Mapping[str, str]
"""Where something big was cut out of a document: its JSON pointer and its SHA-256."""

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """A push was audited for the first time, or again after it was deleted."""

    id: str
    document: Document
    blobs: Blobs


@dataclass(frozen=True, slots=True)
class Rerecorded:
    """A later audit replaced the whole document, decisions included."""

    document: Document
    blobs: Blobs


@dataclass(frozen=True, slots=True)
class Allowed:
    """An authorised push came again without an error, and was let through as it was stored."""


@dataclass(frozen=True, slots=True)
class Authorised:
    """A reviewer approved; without an attestation there is none, not even an older one."""

    attestation: Document | None
    blobs: Blobs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rejected:
    rejection: Document
    blobs: Blobs = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Canceled:
    pass


@dataclass(frozen=True, slots=True)
class Rekeyed:
    """The push is called otherwise from now on; its older ids lead to it as before."""

    new_id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    pass


@dataclass(frozen=True, slots=True)
class Imported:
    """A legacy record replaced the document; a decision that was made here stays."""

    id: str
    document: Document
    blobs: Blobs


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "push.recorded": Recorded,
    "push.rerecorded": Rerecorded,
    "push.allowed": Allowed,
    "push.authorised": Authorised,
    "push.rejected": Rejected,
    "push.canceled": Canceled,
    "push.rekeyed": Rekeyed,
    "push.deleted": Deleted,
    "push.imported": Imported,
}

Event = (
    Recorded
    | Rerecorded
    | Allowed
    | Authorised
    | Rejected
    | Canceled
    | Rekeyed
    | Deleted
    | Imported
)

# --- state --------------------------------------------------------------------


class Push(NamedTuple):
    known: bool = False
    authorised: bool = False
    decided: bool = False
    """Whether somebody decided here since the document was recorded."""
    id: str = ""
    ids: frozenset[str] = frozenset()
    """Every id that leads here; a deleted push keeps its own."""


def evolve(push: Push, event: Event) -> Push:
    match event:
        case Recorded(id, document):
            authorised = document.get("authorised") is True
            return Push(True, authorised, id=id, ids=push.ids | {id})
        case Rerecorded(document):
            authorised = document.get("authorised") is True
            return push._replace(authorised=authorised, decided=False, id=str(document["id"]))
        case Imported(id, document):
            authorised = push.authorised if push.decided else document.get("authorised") is True
            return Push(True, authorised, push.decided, id, push.ids | {id})
        case Authorised():
            return push._replace(authorised=True, decided=True)
        case Rejected() | Canceled():
            return push._replace(authorised=False, decided=True)
        case Rekeyed(new_id):
            return push._replace(id=new_id, ids=push.ids | {new_id})
        case Deleted():
            return Push(ids=push.ids)
        case Allowed():
            return push
        case _:
            assert_never(event)


def after(*events: Event) -> Push:
    return reduce(evolve, events, Push())


# --- the view -----------------------------------------------------------------

Status = Literal["error", "rejected", "canceled", "approved", "pending"]


@dataclass(frozen=True, slots=True)
class View:
    """git-proxy's document of a push.

    Where `blobs` has a string it holds null, where that has a list or object an empty one.
    """

    document: Document
    blobs: Blobs
    decided: bool = False
    """Whether somebody decided here since the document was recorded."""

    def has(self, name: str) -> bool:
        """Tell whether a top-level field is true, as JavaScript takes it."""
        return self.document.get(name) not in (None, False, 0, "") or f"/{name}" in self.blobs

    @property
    def status(self) -> Status:
        """Return where the push stands: the first that applies."""
        for name, status in _STATUSES:
            if self.has(name):
                return status
        return "pending"


_STATUSES: Final[tuple[tuple[str, Status], ...]] = (
    ("error", "error"),
    ("rejected", "rejected"),
    ("canceled", "canceled"),
    ("authorised", "approved"),
    ("blocked", "pending"),
    ("allowPush", "approved"),
)


def view(events: Iterable[Event]) -> View | None:
    """Return what git-proxy would have stored after `events`, None when there is no push."""
    return reduce(view_after, events, None)


def view_after(view: View | None, event: Event) -> View | None:
    """Return the view after one more event. Decisions leave blocked, allowPush and error alone."""
    match event:
        case Recorded(_, document, blobs) | Rerecorded(document, blobs):
            return View(document, blobs)
        case Imported(_, document, blobs):
            imported = View(document, blobs)
            return _with_decision_of(view, imported) if view and view.decided else imported
        case Deleted():
            return None
    if view is None:
        return None
    match event:
        case Allowed():
            return _changed(view, {"allowPush": True, "blocked": False})
        case Authorised(attestation, blobs):
            return _decided(view, "authorised", {"attestation": attestation}, blobs)
        case Rejected(rejection, blobs):
            return _decided(view, "rejected", {"rejection": rejection}, blobs)
        case Canceled():
            return _decided(view, "canceled")
        case Rekeyed(new_id):
            return _changed(view, {"id": new_id, "legacyId": view.document["id"]})
        case _:
            assert_never(event)


_DECISIONS: Final = ("authorised", "canceled", "rejected")
_PAYLOADS: Final = ("attestation", "rejection")


def _decided(
    view: View, decision: str, payload: Document | None = None, blobs: Blobs | None = None
) -> View:
    fields = {name: name == decision for name in _DECISIONS} | dict(payload or {})
    return replace(_changed(view, fields, blobs), decided=True)


def _with_decision_of(view: View, imported: View) -> View:
    """Return what was imported, but with the last decision of `view` and what belongs to it."""
    names = (*_DECISIONS, *_PAYLOADS)
    blobs = {at: sha for at, sha in view.blobs.items() if at.split("/")[1] in names}
    fields = {name: view.document.get(name) for name in names}
    return replace(_changed(imported, fields, blobs), decided=True)


def _changed(view: View, fields: Document, blobs: Blobs | None = None) -> View:
    """Replace top-level fields; one that is None goes."""
    kept = {name: value for name, value in view.document.items() if name not in fields}
    new = {name: value for name, value in fields.items() if value is not None}
    cut_out = {
        pointer: sha256
        for pointer, sha256 in view.blobs.items()
        if pointer.split("/")[1] not in fields
    }
    return View(kept | new, cut_out | dict(blobs or {}), view.decided)


# --- decisions ----------------------------------------------------------------


class UnknownPush(Refused):
    """There is no push under this id."""


class InvalidId(BadInput):
    """The id of a push is a text."""


def record(push: Push, document: Document, blobs: Blobs) -> list[Event]:
    """Keep an audited document, but let an authorised push that comes again without error through.

    It then stays as it was stored. `_id`, a database's own, is left out.
    """
    id = id_of(document)
    if push.known and push.authorised and not View(document, blobs).has("error"):
        return [Allowed()]
    document = {name: value for name, value in document.items() if name != "_id"}
    blobs = {pointer: sha for pointer, sha in blobs.items() if pointer.split("/")[1] != "_id"}
    return [Rerecorded(document, blobs) if push.known else Recorded(id, document, blobs)]


def authorise(
    push: Push, id: str, attestation: Document | None, blobs: Blobs | None = None
) -> list[Event]:
    check_known(push, id)
    return [Authorised(attestation, blobs or {})]


def reject(push: Push, id: str, rejection: Document, blobs: Blobs | None = None) -> list[Event]:
    check_known(push, id)
    return [Rejected(rejection, blobs or {})]


def cancel(push: Push, id: str) -> list[Event]:
    check_known(push, id)
    return [Canceled()]


def rekey(push: Push, id: str, new_id: str) -> list[Event]:
    check_known(push, id)
    checked(new_id)
    return [] if new_id == push.id else [Rekeyed(new_id)]


def import_record(document: Document, blobs: Blobs) -> list[Event]:
    """Take over a legacy record as it is."""
    return [Imported(id_of(document), document, blobs)]


def delete(push: Push) -> list[Event]:
    """Forget a push; there being none is no error."""
    return [Deleted()] if push.known else []


# --- what a push's fields may be ------------------------------------------------


def id_of(document: Document) -> str:
    """Return the id that a document gives itself. Raises `InvalidId` or `IllFormedText`."""
    id = document.get("id")
    if not isinstance(id, str):
        raise InvalidId(f"Invalid id: {id!r:.40} is not a text")
    return checked(id)


def checked(id: str) -> str:
    """Return an id that a push may have. Raises `IllFormedText`."""
    check_word("push id", id)
    return id


def check_known(push: Push, id: str) -> None:
    if not push.known:
        raise UnknownPush(f"push {id} not found")
