"""Attachments: which message shows which content, deleted ones included."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from refold.domain import attachment, streams, uploads
from refold.domain.ports import Event
from refold.projections.columns import integer, storable, table, text

NAME: Final = "attachments"
VERSION: Final = 2  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"attachment"})

TABLE: Final = table(
    NAME,
    "One row an attachment; one that was deleted stands here with the time of that.",
    text("attachment_id", "the id that its uploader gave it, usually a ULID", key=True),
    text("message", "the message that shows it, null as long as none does", null=True),
    text("channel", "the channel that it was uploaded to"),
    text("uploader", "who uploaded it, and alone may attach it; empty once it was deleted"),
    text("filename", "what the file is called; empty once it was deleted"),
    text("content_hash", "SHA-256 of the bytes, 64 lower-case hex digits"),
    integer("size", "how many bytes there are"),
    text("mime_type", "the type of the content, as its uploader named it"),
    integer("width", "pixels of a picture from left to right, null if unknown", null=True),
    integer("height", "pixels of a picture from top to bottom, null if unknown", null=True),
    text("created_at", "when it was uploaded, RFC 3339, an imported one as the source gave it"),
    text("deleted_at", "when it was deleted, in the same form, null if it was not", null=True),
)
INDEXES: Final = (("message",), ("content_hash",))
SEARCH: Final = None


class Row(NamedTuple):
    attachment_id: str
    message: str | None
    channel: str
    uploader: str
    filename: str
    content_hash: str
    size: int
    mime_type: str
    width: int | None
    height: int | None
    created_at: str
    deleted_at: str | None


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(uploads.id_of(event.recorded.stream),)]


def family(key: tuple[str]) -> str:
    return streams.name("attachment", key[0])


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    match event.value:
        case attachment.Created() as new:
            return _row(key, new, None)
        case attachment.Imported() as new:
            row = _row(key, new, new.message)
            return row if new.deleted_at is None else _deleted(row, new.deleted_at)
        case attachment.Attached(message):
            return row and row._replace(message=message)
        case attachment.Deleted(deleted_at):
            return row and _deleted(row, deleted_at)
        case _:
            return row


def _row(
    key: tuple[str],
    new: attachment.Created | attachment.Imported,
    message: str | None,
) -> Row:
    return Row(
        *key,
        message,
        new.channel,
        new.uploader,
        storable(new.filename),
        new.blobs[uploads.CONTENT],
        new.size_bytes,
        new.mime_type,
        new.width,
        new.height,
        new.created_at,
        None,
    )


def _deleted(row: Row, deleted_at: str) -> Row:
    """Return the row of an attachment that was deleted: whose it was is told no more."""
    return row._replace(uploader="", filename="", deleted_at=storable(deleted_at))
