"""Attachments as a chat server asks for them: created from a stream, attached all or none."""

from collections.abc import Iterable, Sequence
from uuid import uuid4

import sqlalchemy as sa

from refold.domain import attachment, streams, times
from refold.domain.errors import Conflict
from refold.domain.ports import Appended, Command, Write
from refold.domain.texts import check_text, check_word
from refold.domain.uploads import id_of
from refold.infrastructure import commands
from refold.infrastructure.blobs.contents import bring
from refold.infrastructure.codec import Metadata, encode_metadata
from refold.infrastructure.folding.folder import fold_family
from refold.infrastructure.reading import After, reading
from refold.infrastructure.requests.attachments import state, stream
from refold.infrastructure.store import Store
from refold.projections import attachments

Attachment = attachments.Row
"""The record of an attachment; times are RFC 3339, `width` and `height` pixels."""


def create(
    store: Store,
    chunks: Iterable[bytes],
    *,
    id: str,
    channel: str,
    uploader: str,
    filename: str,
    mime_type: str,
    width: int | None = None,
    height: int | None = None,
    expected: str | None = None,
    cap: int | None = None,
    command_id: str | None = None,
) -> Attachment | None:
    """Keep an upload as an attachment that no message shows yet, and return it.

    Bytes that are kept already are kept once; `cap` as in `media.put`. Asked for again with the
    same command id, it returns the attachment as it is now, None if it was deleted. Raises what
    `Blobs.put` raises, and what is refused of the other fields; then nothing is recorded.
    """
    kept_in = store.blobs
    blob = kept_in.put(chunks, expected=expected, cap=store.most_bytes(cap))
    upload = {
        "id": id,
        "channel": channel,
        "uploader": uploader,
        "filename": filename,
        "content_hash": blob.sha256,
        "mime_type": mime_type,
        "width": width,
        "height": height,
    }
    request = commands.parse("attachment.create", upload)
    command_id = command_id or uuid4().hex

    def record(here: Store) -> None:
        bring(kept_in, here.blobs, blob.sha256)  # the store may have moved since
        commands.carry_out_here(here, request, command_id, uploader)

    commands.following(store, record)
    return show(store, id)


def show(store: Store, id: str) -> Attachment | None:
    """Return an attachment as the log has it now; None when there is none, or it was deleted.

    Raises `IllFormedText` for what can be no id.
    """
    events = store.family(streams.name("attachment", id))
    rows = fold_family(events, [attachments])[attachments.NAME]
    found = next((Attachment._make(row) for row in rows.values()), None)
    return None if found is None or found.deleted_at is not None else found


def list_of_message(store: Store, message: str, *, after: After = "now") -> list[Attachment]:
    """Return the attachments that a message shows, deleted ones left out, the oldest first.

    Those of the same instant come in the order of their ids. Raises `IllFormedText`.
    """
    check_text("message id", message)
    with reading(store, after, attachments) as tables:
        table = tables.current[attachments.NAME].table
        columns = [table.c[name] for name in Attachment._fields]
        shown = sa.select(*columns).where(table.c.message == message, table.c.deleted_at.is_(None))
        return sorted(map(Attachment._make, tables.connection.execute(shown)), key=_age)


def attach_all(
    store: Store, ids: Sequence[str], message: str, uploader: str, *, command_id: str, actor: str
) -> commands.Done:
    """Show `ids`, each once, with a message: all of them or, when one is refused, none.

    Each has to be an own one that was neither attached nor deleted. Asked for again with the same
    command id, it gives the first outcome. Raises `Refused`.
    """
    check_word("command id", command_id)
    names = list(dict.fromkeys(map(stream, ids)))
    if not names:
        return commands.Done("unchanged", "", 0, 0)
    return commands.following(
        store, lambda here: _attach_all(here, names, message, uploader, command_id, actor)
    )


def _attach_all(
    store: Store, names: Sequence[str], message: str, uploader: str, command_id: str, actor: str
) -> commands.Done:
    metadata = encode_metadata(Metadata(actor))
    attempts = 0
    while True:
        attempts += 1
        writes = tuple(
            _write(store, name, message, uploader, command_id, metadata) for name in names
        )
        [outcome] = store.commits.append([Command(command_id, writes)])
        if isinstance(outcome, Appended):
            return commands.Done(
                "duplicate" if outcome.again else "appended",
                outcome.stream,
                outcome.version,
                outcome.position,
                outcome.partition,
            )
        if attempts == commands.ATTEMPTS or not isinstance(outcome, Conflict):
            raise outcome


def _write(
    store: Store, name: str, message: str, uploader: str, command_id: str, metadata: bytes
) -> Write:
    """Return what attaches one; of a command that was carried out the log knows the outcome."""
    events = store.history(name)
    values: list[attachment.Event] = [attachment.Attached(message)]
    if all(event.command_id != command_id for event in events):
        values = attachment.attach(state(events), id_of(name), message, uploader)
    new = tuple(store.codec.encode(value, metadata) for value in values)
    return Write(name, len(events), new)


def _age(found: Attachment) -> tuple[bool, int, str]:
    """Return what orders attachments; those with a time that cannot be read come last."""
    try:
        return False, times.instant(found.created_at), found.attachment_id
    except times.NotATime:
        return True, 0, found.attachment_id
