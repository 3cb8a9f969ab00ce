"""Imports decentcom's users, devices, sessions, media and attachments; the chat is counted."""

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import replace
from pathlib import Path
from time import time_ns
from typing import NamedTuple, TypeVar

from refold.domain import attachment, media, streams, times
from refold.domain.errors import Refused
from refold.domain.ports import Blobs
from refold.domain.texts import NotASha256, check_sha256
from refold.domain.uploads import CONTENT, id_of
from refold.infrastructure.blobs.contents import location
from refold.infrastructure.codec import canonical
from refold.infrastructure.legacy.decentcom import records, source
from refold.infrastructure.legacy.decentcom.media import State
from refold.infrastructure.legacy.importing import Importer, Record, Refusal, Report
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.requests import attachments as attachment_requests
from refold.infrastructure.requests import media as media_requests
from refold.infrastructure.requests import sessions, users
from refold.infrastructure.requests.request import Request, Situation
from refold.infrastructure.store import Store

Row = TypeVar(
    "Row", records.User, records.Device, records.Session, records.Media, records.Attachment
)


def import_decentcom(
    store: Store,
    path: Path,
    folder: Path | None = None,
    *,
    source_name: str = "decentcom",
    actor: str = "import",
    progress: Progress = quietly,
) -> Report:
    """Import a database of decentcom, and from `folder` the bytes of what was uploaded.

    Rows whose bytes are missing, or are others than their hash says, are refused and named; without
    a folder all uploads are. Sessions that have expired are refused too. The rows of the chat are
    counted in `left_out`. Raises `BadInput` for a file that is damaged or no database of decentcom,
    and `NoPlaceForBlobs` when there is a folder and the store has no place for what is in it;
    `NoVaultKey` and `WrongVaultKey` where there is something to seal. All of that is before
    anything is written.
    """
    with source.read(path, folder) as opened:
        return import_source(
            store, opened, path.name, source_name=source_name, actor=actor, progress=progress
        )


def import_source(
    store: Store,
    opened: source.Source,
    file: str,
    *,
    source_name: str = "decentcom",
    actor: str = "import",
    progress: Progress = quietly,
) -> Report:
    """Import a database that was checked, and is called `file`; see `import_decentcom`."""
    blobs = store.blobs if opened.has_media else None
    importer = Importer(store, source_name, actor=actor, progress=progress)
    if is_sealed(opened):
        store.vault.check()
    reading = _Reading(store, opened, file, blobs)
    for rows in reading.tables():
        importer.take(rows)  # one table after the other: devices need their users
    for hash in opened.files_without_row() if opened.has_media else ():
        if hash not in reading.attached:
            importer.report.notes.append((f"file {hash}", "no row leads to it"))
    importer.report.left_out = {table: rows for table, rows in opened.chat.items() if rows}
    return importer.finish()


def is_sealed(opened: source.Source) -> bool:
    """Tell whether there is anything in it that is sealed once it is imported."""
    return any(opened.rows.get(each.table) for each in (records.User, records.Session))


class _Reading:
    """Turns rows into records, and keeps the bytes of uploads on the way.

    `attached` are the contents that attachments lead to.
    """

    def __init__(self, store: Store, opened: source.Source, file: str, blobs: Blobs | None) -> None:
        self._store, self._source, self._file, self._blobs = store, opened, file, blobs
        self._first: dict[str, str] = {}  # the first id of each content
        self._now = time_ns() // 1_000
        self.attached: set[str] = set()

    def tables(self) -> Iterator[Iterator[Record | Refusal]]:
        yield self._records(self._source.users(), self._user)
        yield self._records(self._source.devices(), self._device)
        yield self._records(self._source.sessions(), self._session)
        yield self._records(self._source.media_rows(), self._media)
        yield self._records(self._source.attachments(), self._attachment)

    def _records(
        self, rows: Iterable[Row | records.Refusal], request: Callable[[Row], Request]
    ) -> Iterator[Record | Refusal]:
        for row in rows:
            if isinstance(row, records.Refusal):
                yield self._refusal(row.table, row.rowid, row.key, row.reason)
                continue
            try:
                asked = request(row)
            except Refused as refusal:
                yield self._refusal(row.table, row.rowid, row.key, str(refusal))
            else:
                key = f"{row.table} {row.key}"
                part = key if isinstance(row, records.Device) else ""  # beside their users
                digest = row.digest
                if isinstance(row, records.User | records.Session):  # what is sealed of it
                    digest = self._store.vault.blind("import", digest)  # is not to be guessed
                notes = _notes(row)
                yield Record(key, self._file, row.rowid, digest, None, asked, notes, part)

    def _refusal(self, table: str, rowid: int, key: str, reason: str) -> Refusal:
        return Refusal(f"{table} {key}", self._file, rowid, reason)

    def _user(self, row: records.User) -> Request:
        profile = {
            "pubkey": row.pubkey,
            "displayName": row.display_name,
            "avatarHash": row.avatar_hash,
            "isBot": row.is_bot,
            "createdAt": row.created_at.text,
            "updatedAt": row.updated_at.text,
        }
        kept = {name: value for name, value in profile.items() if value is not None}
        return users.ImportUser(row.id, kept)

    def _device(self, row: records.Device) -> Request:
        record = {
            "pubkey": row.pubkey,
            "x25519_pubkey": row.x25519_pubkey,
            "device_name": row.device_name,
            "issued_at": row.issued_at,
            "created_at": row.created_at.text,
        }
        return users.AddDevice(id=row.user_id, device=row.id, record=record)

    def _session(self, row: records.Session) -> Request:
        if row.expires_at.micros <= self._now:
            raise Refused(f"the session has expired: {row.expires_at.text}")
        return sessions.SetSession(
            sid=row.token,
            body=canonical(
                {"createdAt": row.created_at.text, "expiresAt": row.expires_at.text}
            ).decode(),
            expires_at=times.text(row.expires_at.micros),
            user=row.user_id,
            read_only=row.is_read_only,
        )

    def _media(self, row: records.Media) -> Request:
        self._keep(row.content_hash, row.size_bytes)
        found = media.Imported(
            row.id,
            {CONTENT: row.content_hash},
            row.mime_type,
            row.size_bytes,
            row.uploader_id,
            row.created_at.text,
            *location(self._store.blobs, row.content_hash),
        )
        media.import_row(media.Media(), found)  # one that is refused is nobody's first
        first = self._first_id(row)
        return _ImportMedia(replace(found, duplicate_of=None if first == row.id else first))

    def _first_id(self, row: records.Media) -> str:
        """Return the id that has a content: here already, or as the first of the rows."""
        holder = self._store.log.holder(media_requests.CONTENT_OF, row.content_hash)
        return id_of(holder) if holder else self._first.setdefault(row.content_hash, row.id)

    def _attachment(self, row: records.Attachment) -> Request:
        self.attached.add(row.content_hash)
        self._keep(row.content_hash, row.size)
        return _ImportAttachment(
            attachment.Imported(
                row.id,
                row.channel_id,
                row.uploader_id,
                row.filename,
                {CONTENT: row.content_hash},
                row.size,
                row.mime_type,
                row.width,
                row.height,
                row.created_at.text,
                row.message_id,
                row.deleted_at.text if row.deleted_at else None,
            )
        )

    def _keep(self, hash: str, size: int) -> None:
        """Keep the bytes of an upload. Raises `Refused` when they are not what the row says."""
        if self._blobs is None:
            raise Refused("no media folder was given")
        found = self._source.media_file(hash)
        if found.state is State.ABSENT:
            raise Refused(f"the media folder has no file {hash}")
        if found.state is State.OTHER_BYTES:
            raise Refused(f"the bytes of file {hash} have the hash {found.actual}")
        if found.size != size:
            raise Refused(f"file {hash} has {found.size} bytes, its row says {size}")
        if self._blobs.head(hash) is None:
            self._blobs.put(found.chunks(), expected=hash)


def _notes(row: Row) -> tuple[str, ...]:
    if not isinstance(row, records.User) or row.avatar_hash is None:
        return ()
    try:
        check_sha256(row.avatar_hash)
    except NotASha256:
        return ("its avatar_hash is no SHA-256",)
    return ()


# --- requests -------------------------------------------------------------------


class _ImportMedia(NamedTuple):
    row: media.Imported

    def stream(self) -> str:
        return streams.name("media", self.row.id)

    def found_by(self) -> None:
        return None

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        return media_requests.claims(values)

    def decide(self, now: Situation) -> Sequence[object]:
        return media.import_row(media_requests.state(now.events), self.row)


class _ImportAttachment(NamedTuple):
    row: attachment.Imported

    def stream(self) -> str:
        return attachment_requests.stream(self.row.id)

    def found_by(self) -> None:
        return None

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:  # noqa: ARG002 - none
        return frozenset()

    def decide(self, now: Situation) -> Sequence[object]:
        return attachment.import_row(attachment_requests.state(now.events), self.row)
