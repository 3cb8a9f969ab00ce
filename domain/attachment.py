"""An attachment: a content that somebody uploaded to a channel, and the message that shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple, assert_never

from refold.domain.errors import BadInput, Refused
from refold.domain.texts import check_sha256, check_word
from refold.domain.uploads import CONTENT, check_id, check_mime_type

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Created:
    """A content was uploaded; no message shows it yet. `width` and `height` are pixels."""

    id: str
    channel: str
    uploader: str
    filename: str
    blobs: Mapping[str, str]
    size_bytes: int
    mime_type: str
    width: int | None
    height: int | None
    created_at: str


@dataclass(frozen=True, slots=True)
class Attached:
    message: str


@dataclass(frozen=True, slots=True)
class Deleted:
    deleted_at: str


@dataclass(frozen=True, slots=True)
class Imported:
    """A legacy row was taken over, with the message that shows it and the time of its end."""

    id: str
    channel: str
    uploader: str
    filename: str
    blobs: Mapping[str, str]
    size_bytes: int
    mime_type: str
    width: int | None
    height: int | None
    created_at: str
    message: str | None = None
    deleted_at: str | None = None


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "attachment.created": Created,
    "attachment.attached": Attached,
    "attachment.deleted": Deleted,
    "attachment.imported": Imported,
}

Event = Created | Attached | Deleted | Imported

# --- state --------------------------------------------------------------------


class Attachment(NamedTuple):
    known: bool = False
    uploader: str = ""
    message: str | None = None
    deleted: bool = False


def evolve(attachment: Attachment, event: Event) -> Attachment:
    match event:
        case Created(uploader=uploader):
            return Attachment(True, uploader)
        case Imported(uploader=uploader, message=message, deleted_at=deleted_at):
            return Attachment(True, uploader, message, deleted_at is not None)
        case Attached(message):
            return attachment._replace(message=message)
        case Deleted():
            return attachment._replace(deleted=True)
        case _:
            assert_never(event)


def after(*events: Event) -> Attachment:
    return reduce(evolve, events, Attachment())


# --- decisions ----------------------------------------------------------------

LARGEST: Final = 2**31 - 1
"""Pixels of a width or height."""


class UnknownAttachment(Refused):
    """There is no attachment under this id."""


class AttachmentExists(Refused):
    """There is, or was, an attachment under this id."""


class DeletedAttachment(Refused):
    """The attachment was deleted."""


class NotOwnAttachment(Refused):
    """Only who uploaded an attachment attaches it."""


class AlreadyAttached(Refused):
    """A message shows the attachment already."""


class InvalidPixels(BadInput):
    """A width or height counts pixels, from 0 to 2 147 483 647."""


def create(attachment: Attachment, new: Created) -> list[Event]:
    _check(new)
    check_word("filename", new.filename)
    for pixels in (new.width, new.height):
        if pixels is not None and not 0 <= pixels <= LARGEST:
            raise InvalidPixels(f"{pixels} is not a number of pixels from 0 to {LARGEST}")
    if attachment.known:
        raise AttachmentExists(f"attachment {new.id} exists already")
    return [new]


def attach(attachment: Attachment, id: str, message: str, uploader: str) -> list[Event]:
    """Show an own attachment with a message, once and for all."""
    check_word("message id", message)
    if not attachment.known:
        raise UnknownAttachment(f"attachment {id} not found")
    if attachment.deleted:
        raise DeletedAttachment(f"attachment {id} was deleted")
    if attachment.uploader != uploader:
        raise NotOwnAttachment(f"attachment {id} was uploaded by another than {uploader}")
    if attachment.message is not None:
        raise AlreadyAttached(f"attachment {id} is attached to message {attachment.message}")
    return [Attached(message)]


def delete(attachment: Attachment, deleted_at: str) -> list[Event]:
    """Hide an attachment; there being none is no error."""
    return [Deleted(deleted_at)] if attachment.known and not attachment.deleted else []


def import_row(attachment: Attachment, row: Imported) -> list[Event]:
    """Take over a legacy row; again, only what happened to it since, and nothing is undone."""
    _check(row)
    if row.message is not None:
        check_word("message id", row.message)
    if not attachment.known:
        return [row]
    events: list[Event] = []
    if attachment.message is None and row.message is not None:
        events.append(Attached(row.message))
    if not attachment.deleted and row.deleted_at is not None:
        events.append(Deleted(row.deleted_at))
    return events


def _check(new: Created | Imported) -> None:
    check_id("attachment id", new.id)
    check_word("channel", new.channel)
    check_word("uploader", new.uploader)
    check_sha256(new.blobs[CONTENT])
    check_mime_type(new.mime_type)
    check_word("time", new.created_at)
