"""Requests about attachments. The bytes are among the store's blobs before one is created."""

from collections.abc import Sequence

from refold.domain import attachment, streams
from refold.domain.ports import Valued
from refold.domain.uploads import CONTENT, check_id
from refold.infrastructure.requests.media import time, uploaded
from refold.infrastructure.requests.request import Fields, Situation


def state(events: Sequence[Valued]) -> attachment.Attachment:
    """Return the attachment that its events add up to."""
    return attachment.after(*(event.value for event in events))  # type: ignore[arg-type]


def stream(id: str) -> str:
    """Return the stream of an attachment. Raises `InvalidId` or `IllFormedText`."""
    check_id("attachment id", id)
    return streams.name("attachment", id)


class _OfAttachment(Fields):
    id: str

    def stream(self) -> str:
        return stream(self.id)


class CreateAttachment(_OfAttachment):
    """Keep what was uploaded to a channel, for a message that is not written yet."""

    channel: str
    uploader: str
    filename: str
    content_hash: str
    mime_type: str
    width: int | None = None
    height: int | None = None
    created_at: str | None = None

    def decide(self, now: Situation) -> Sequence[object]:
        blob = uploaded(now.store, self.content_hash)
        new = attachment.Created(
            self.id,
            self.channel,
            self.uploader,
            self.filename,
            {CONTENT: blob.sha256},
            blob.size,
            self.mime_type,
            self.width,
            self.height,
            time(self.created_at, now.store),
        )
        return attachment.create(state(now.events), new)


class AttachAttachment(_OfAttachment):
    """Show an own attachment with a message."""

    message: str
    uploader: str

    def decide(self, now: Situation) -> Sequence[object]:
        return attachment.attach(state(now.events), self.id, self.message, self.uploader)


class DeleteAttachment(_OfAttachment):
    """Hide an attachment; there being none is no error."""

    deleted_at: str | None = None

    def decide(self, now: Situation) -> Sequence[object]:
        return attachment.delete(state(now.events), time(self.deleted_at, now.store))
