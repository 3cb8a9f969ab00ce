"""Media: a content that somebody uploaded, and where it is kept. One content has one id.

Who uploads the same content again gets the first id, and has a part in it from then on. Rows of a
legacy store may have several ids for one content; then the first one has the content, and the
others say whose it is.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple, assert_never

from refold.domain.errors import Refused
from refold.domain.texts import check_sha256, check_word
from refold.domain.uploads import CONTENT, check_id, check_mime_type

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """A content was uploaded; `bucket` and `s3_key` say where it is, None on disk."""

    id: str
    blobs: Mapping[str, str]
    mime_type: str
    size_bytes: int
    uploader: str
    uploaded_at: str
    bucket: str | None = None
    s3_key: str | None = None


@dataclass(frozen=True, slots=True)
class StoredAgain:
    """Somebody else uploaded the same content, and shows it under this id."""

    blobs: Mapping[str, str]
    uploader: str
    uploaded_at: str


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Somebody who uploaded the content has no part in it any more; it stays for others."""

    uploader: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The content is kept elsewhere from now on, where its SHA-256 was verified."""

    bucket: str | None
    s3_key: str | None


@dataclass(frozen=True, slots=True)
class Deleted:
    pass


@dataclass(frozen=True, slots=True)
class Imported:
    """A legacy row was taken over; `duplicate_of` is the id that had the content already."""

    id: str
    blobs: Mapping[str, str]
    mime_type: str
    size_bytes: int
    uploader: str
    uploaded_at: str
    bucket: str | None = None
    s3_key: str | None = None
    duplicate_of: str | None = None


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "media.stored": Stored,
    "media.moved": Moved,
    "media.deleted": Deleted,
    "media.imported": Imported,
    "media.stored_again": StoredAgain,
    "media.withdrawn": Withdrawn,
}

Event = Stored | Moved | Deleted | Imported | StoredAgain | Withdrawn

# --- state --------------------------------------------------------------------


class Media(NamedTuple):
    """`has_content` tells that another upload of the same content leads here.

    `uploaders` are those who have a part in it, the first one first.
    """

    known: bool = False
    deleted: bool = False
    content_hash: str = ""
    has_content: bool = False
    place: tuple[str | None, str | None] = (None, None)
    uploaders: tuple[str, ...] = ()


def evolve(media: Media, event: Event) -> Media:
    match event:
        case Stored() as new:
            place = new.bucket, new.s3_key
            return Media(True, False, new.blobs[CONTENT], True, place, (new.uploader,))
        case Imported() as new:
            place, has = (new.bucket, new.s3_key), new.duplicate_of is None
            return Media(True, False, new.blobs[CONTENT], has, place, (new.uploader,))
        case StoredAgain(uploader=uploader):
            return media._replace(uploaders=(*media.uploaders, uploader))
        case Withdrawn(uploader):
            left = tuple(each for each in media.uploaders if each != uploader)
            return media._replace(uploaders=left)
        case Moved(bucket, s3_key):
            return media._replace(place=(bucket, s3_key))
        case Deleted():
            return Media(deleted=True)
        case _:
            assert_never(event)


def after(*events: Event) -> Media:
    return reduce(evolve, events, Media())


# --- decisions ----------------------------------------------------------------


class UnknownMedia(Refused):
    """There are no media under this id."""


class MediaIdTaken(Refused):
    """The id is, or was, that of another content."""


def store(media: Media, new: Stored) -> list[Event]:
    """Keep an upload; of the same content again it is only news who else uploaded it."""
    _check(new)
    if media.known and media.content_hash == new.blobs[CONTENT]:
        again = StoredAgain(new.blobs, new.uploader, new.uploaded_at)
        return [] if new.uploader in media.uploaders else [again]
    _check_free(media, new.id)
    return [new]


def move(media: Media, id: str, bucket: str | None, s3_key: str | None) -> list[Event]:
    """Say where the content is now; the caller has verified that it is there."""
    if not media.known:
        raise UnknownMedia(f"media {id} not found")
    _check_place(bucket, s3_key)
    return [] if media.place == (bucket, s3_key) else [Moved(bucket, s3_key)]


def delete(media: Media) -> list[Event]:
    """Forget media, but not the content; there being none is no error."""
    return [Deleted()] if media.known else []


def withdraw(media: Media, uploaders: Collection[str], *, content_is_needed: bool) -> list[Event]:
    """Take back the part that `uploaders` have; what nobody has a part in any more is deleted.

    It stays as long as `content_is_needed` elsewhere: who needs the content may show it.
    """
    theirs = [each for each in media.uploaders if each in uploaders]
    if content_is_needed or len(theirs) < len(media.uploaders):
        return [Withdrawn(each) for each in theirs]
    return delete(media)


def import_row(media: Media, row: Imported) -> list[Event]:
    """Take over a legacy row; one that was taken over before, or deleted since, is no news."""
    _check(row)
    if media.known and media.content_hash != row.blobs[CONTENT]:
        _check_free(media, row.id)
    return [] if media.known or media.deleted else [row]


def _check(new: Stored | Imported) -> None:
    check_id("media id", new.id)
    check_sha256(new.blobs[CONTENT])
    check_mime_type(new.mime_type)
    check_word("uploader", new.uploader)
    check_word("time", new.uploaded_at)
    _check_place(new.bucket, new.s3_key)


def _check_place(bucket: str | None, s3_key: str | None) -> None:
    for what, text in (("bucket", bucket), ("S3 key", s3_key)):
        if text is not None:
            check_word(what, text)


def _check_free(media: Media, id: str) -> None:
    if media.known:
        raise MediaIdTaken(f"media {id} has another content, {media.content_hash}")
    if media.deleted:
        raise MediaIdTaken(f"media {id} was deleted; its id is not used again")
