"""Requests about media. The bytes are among the store's blobs before any of these is made."""

from collections.abc import Collection, Sequence, Set
from typing import Final, NamedTuple

from refold.domain import media, streams, times
from refold.domain.errors import NoSuchBlob, TooLarge
from refold.domain.ports import Blob, Valued
from refold.domain.texts import check_sha256
from refold.domain.uploads import CONTENT, check_id
from refold.infrastructure import clock
from refold.infrastructure.blobs.contents import is_whole, location
from refold.infrastructure.requests.request import Fields, Situation
from refold.infrastructure.store import Store

ID: Final = "media id"
CONTENT_OF: Final = "media content"
"""The kind of the claims that lead from a SHA-256 to the stream that has the content."""


def state(events: Sequence[Valued]) -> media.Media:
    """Return the media that their events add up to."""
    return media.after(*(event.value for event in events))  # type: ignore[arg-type]


def claims(values: Sequence[object]) -> Set[tuple[str, str]]:
    """Return the claim of media with those events: on their content, unless others had it first."""
    found = media.after(*values)  # type: ignore[arg-type]
    return {(CONTENT_OF, found.content_hash)} if found.has_content else frozenset()


def kept(store: Store, content_hash: str) -> Blob:
    """Return name and size of a content. Raises `NoSuchBlob` when it is not among the blobs."""
    blob = store.blobs.head(content_hash)
    if blob is None:
        raise NoSuchBlob(content_hash)
    return blob


def uploaded(store: Store, content_hash: str) -> Blob:
    """Return what `kept` does of a content that is to be recorded. Raises `TooLarge`, too."""
    blob = kept(store, content_hash)
    if blob.size > store.upload_bytes:
        raise TooLarge(store.upload_bytes)
    return blob


def time(given: str | None, store: Store) -> str:
    """Return the time that was given, or the present one. Raises `NotATime`."""
    if given is None:
        return times.text(clock.now(store.log))
    times.instant(given)
    return given


class _OfMedia(Fields):
    id: str

    def stream(self) -> str:
        check_id(ID, self.id)
        return streams.name("media", self.id)

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return claims(values)


class StoreMedia(_OfMedia):
    """Keep what was uploaded; a content that is kept already keeps its first id and record."""

    content_hash: str
    mime_type: str
    uploader: str
    uploaded_at: str | None = None

    def found_by(self) -> tuple[str, str]:
        check_id(ID, self.id)
        check_sha256(self.content_hash)
        return CONTENT_OF, self.content_hash

    def decide(self, now: Situation) -> Sequence[object]:
        blob = uploaded(now.store, self.content_hash)
        new = media.Stored(
            self.id,
            {CONTENT: blob.sha256},
            self.mime_type,
            blob.size,
            self.uploader,
            time(self.uploaded_at, now.store),
            *location(now.store.blobs, blob.sha256),
        )
        return media.store(state(now.events), new)


class MoveMedia(_OfMedia):
    """Say where the bytes are now, in this store's blobs. They are read first, and are right."""

    def decide(self, now: Situation) -> Sequence[object]:
        found = state(now.events)
        moved = media.move(found, self.id, *location(now.store.blobs, found.content_hash))
        if moved and not is_whole(now.store.blobs, found.content_hash):
            raise NoSuchBlob(found.content_hash)
        return moved


class DeleteMedia(_OfMedia):
    """Forget media, but not the bytes; there being none is no error."""

    def decide(self, now: Situation) -> Sequence[object]:
        return media.delete(state(now.events))


class WithdrawMedia(NamedTuple):
    """Take back what somebody uploaded under any of their names: see `erasing`."""

    id: str
    uploaders: Collection[str]
    content_is_needed: bool

    def stream(self) -> str:
        return streams.name("media", self.id)

    def found_by(self) -> None:
        return None

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return claims(values)

    def decide(self, now: Situation) -> Sequence[object]:
        found = state(now.events)
        return media.withdraw(found, self.uploaders, content_is_needed=self.content_is_needed)
