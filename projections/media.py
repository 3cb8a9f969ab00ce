"""Media: the record of each upload, but not its bytes."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from refold.domain import media, streams, uploads
from refold.domain.ports import Event
from refold.projections.columns import integer, table, text

NAME: Final = "media"
VERSION: Final = 2  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"media"})

TABLE: Final = table(
    NAME,
    "One row an upload that was not deleted; its bytes are among the blobs.",
    text("media_id", "the id that its uploader gave it, usually a ULID", key=True),
    text("content_hash", "SHA-256 of the bytes, 64 lower-case hex digits"),
    text("s3_key", "the key of the bytes in the bucket, null on disk", null=True),
    text("bucket", "the bucket where the bytes are, null on disk", null=True),
    integer("size_bytes", "how many bytes there are"),
    text("mime_type", "the type of the content, as its first uploader named it"),
    text("uploaded_by", "who uploaded the content first; empty once they were erased"),
    text("uploaded_at", "when that was, RFC 3339, an imported one as the source gave it"),
)
INDEXES: Final = (("content_hash",), ("uploaded_by",))
SEARCH: Final = None


class Row(NamedTuple):
    media_id: str
    content_hash: str
    s3_key: str | None
    bucket: str | None
    size_bytes: int
    mime_type: str
    uploaded_by: str
    uploaded_at: str


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(uploads.id_of(event.recorded.stream),)]


def family(key: tuple[str]) -> str:
    return streams.name("media", key[0])


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    """Return the row after `event`; decisions let no text pass that a column cannot hold."""
    match event.value:
        case media.Stored() | media.Imported() as new:
            return Row(
                *key,
                new.blobs[uploads.CONTENT],
                new.s3_key,
                new.bucket,
                new.size_bytes,
                new.mime_type,
                new.uploader,
                new.uploaded_at,
            )
        case media.Moved(bucket, s3_key):
            return row and row._replace(bucket=bucket, s3_key=s3_key)
        case media.Withdrawn(uploader):
            is_first = row is not None and row.uploaded_by == uploader
            return row._replace(uploaded_by="") if row and is_first else row
        case media.Deleted():
            return None
        case _:
            return row
