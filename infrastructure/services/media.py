"""Media as a chat server asks for them: put from a stream, found by id or content, served."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable
from uuid import uuid4

import sqlalchemy as sa

from refold.domain import streams
from refold.domain.errors import BadInput
from refold.domain.texts import check_sha256
from refold.domain.uploads import id_of
from refold.infrastructure import commands
from refold.infrastructure.blobs.contents import bring
from refold.infrastructure.blobs.presigning import media_type
from refold.infrastructure.folding.folder import fold_family
from refold.infrastructure.reading import reading
from refold.infrastructure.requests.media import CONTENT_OF, kept
from refold.infrastructure.store import Store
from refold.projections import media

Media = media.Row
"""The record of an upload; `uploaded_at` is RFC 3339, `bucket` and `s3_key` are None on disk."""


@runtime_checkable
class Presigned(Protocol):
    """Blobs that somebody without keys can be sent to."""

    def presigned_get(
        self,
        sha256: str,
        *,
        content_type: str | None = None,
        filename: str | None = None,
        seconds: int | None = None,
    ) -> str:
        """Return a url to GET the content from for a while."""
        ...


@dataclass(frozen=True, slots=True)
class Redirect:
    """What a web route answers: 302 has a url, which is a secret, 200 a body, 404 neither."""

    status: int
    url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: Iterator[bytes] | None = None


def put(
    store: Store,
    chunks: Iterable[bytes],
    *,
    id: str,
    mime_type: str,
    uploader: str,
    expected: str | None = None,
    cap: int | None = None,
) -> Media:
    """Keep an upload, and return it under the id that its content has: the first one it was given.

    Who uploads a content that is kept already has a part in it: it does not go with the first one.
    `expected` is its SHA-256 as the uploader knows it, `cap` the most bytes that are taken, where
    that is less than the store's `upload_bytes`; what has more is refused while it streams in.
    Raises what `Blobs.put` raises, `MediaIdTaken` for an id of another content, and what is
    refused of the other fields; then nothing is recorded. Doing it again is safe.
    """
    kept_in = store.blobs
    blob = kept_in.put(chunks, expected=expected, cap=store.most_bytes(cap))
    upload = {"id": id, "content_hash": blob.sha256, "mime_type": mime_type, "uploader": uploader}
    request = commands.parse("media.store", upload)

    def record(here: Store) -> commands.Done:
        bring(kept_in, here.blobs, blob.sha256)  # the store may have moved since
        return commands.carry_out_here(here, request, command_id, uploader)

    while True:
        command_id = uuid4().hex  # what was stored before is found by its content
        done = commands.following(store, record)
        found = show_media(store, id_of(done.stream))
        if found:
            return found  # else it was deleted since: its id is then refused


def show_media(store: Store, id: str) -> Media | None:
    """Return media as the log has them now; None when there are none under this id.

    Raises `IllFormedText` for what can be no id.
    """
    rows = fold_family(store.family(streams.name("media", id)), [media])[media.NAME]
    return next((Media._make(row) for row in rows.values()), None)


def find_media(store: Store, content_hash: str) -> Media | None:
    """Return the media that have a content; None when nobody uploaded it. Raises `NotASha256`."""
    check_sha256(content_hash)
    stream = store.log.holder(CONTENT_OF, content_hash)
    return show_media(store, id_of(stream)) if stream else _other(store, content_hash)


def open_media(store: Store, id: str) -> tuple[Media, Iterator[bytes]] | None:
    """Return media and their bytes, None when there are none under this id.

    Raises `NoSuchBlob` at once when the bytes are missing, and `BlobDiffers` before the last chunk
    of bytes that are not those that were put.
    """
    found = show_media(store, id)
    return (found, store.blobs.get(found.content_hash)) if found else None


def redirect(store: Store, id: str) -> Redirect:
    """Return what a web route answers: where the bytes are, or the bytes. Raises as `open_media`.

    Where a presigned url is given, nobody asks the bucket whether the bytes are there. Both ways
    a browser is told to save the bytes, not to show them as a page of the server's own.
    """
    found = show_media(store, id)
    if found is None:
        return Redirect(404)
    if isinstance(store.blobs, Presigned):
        type = _plain(found.mime_type)
        url = store.blobs.presigned_get(found.content_hash, content_type=type)
        return Redirect(302, url, {"Location": url, "Cache-Control": "no-store"})
    headers = {
        "Content-Type": found.mime_type,
        "Content-Length": str(kept(store, found.content_hash).size),
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "public, max-age=31536000, immutable",
    }
    return Redirect(200, headers=headers, body=store.blobs.get(found.content_hash))


def _other(store: Store, content_hash: str) -> Media | None:
    """Return media that were imported beside the first ones of a content, which are deleted."""
    with reading(store, "now", media) as tables:
        table = tables.current[media.NAME].table
        columns = [table.c[name] for name in Media._fields]
        found = sa.select(*columns).where(table.c.content_hash == content_hash)
        row = tables.connection.execute(found.order_by(table.c.media_id).limit(1)).first()
    return Media._make(row) if row else None


def _plain(mime_type: str) -> str:
    """Return a type without the parameters that cannot be signed."""
    try:
        return media_type(mime_type)
    except BadInput:
        return mime_type.partition(";")[0].rstrip()
