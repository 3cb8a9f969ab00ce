"""Erases a person: ends sessions, destroys keys, clears tables and files, and looks what is left.

Broken off anywhere, it is asked for again: what cannot be read any more is then not sought.
"""

from collections.abc import Collection, Sequence
from functools import partial
from typing import Final
from uuid import uuid4

from refold.domain import streams, times, uploads, user
from refold.domain.errors import Conflict
from refold.domain.positions import Positions
from refold.infrastructure.address import Archive, Postgres, Sqlite
from refold.infrastructure.archive import verifying
from refold.infrastructure.commands import ATTEMPTS, carry_out
from refold.infrastructure.erasing import person, scanning, seeking
from refold.infrastructure.erasing.certificate import Certificate, Finding
from refold.infrastructure.erasing.clearing import clear
from refold.infrastructure.erasing.person import Belongings, Person
from refold.infrastructure.erasing.seeking import Seeker, Value
from refold.infrastructure.failpoints import reach
from refold.infrastructure.patience import patiently
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.requests import media, users
from refold.infrastructure.requests.attachments import DeleteAttachment
from refold.infrastructure.requests.media import WithdrawMedia
from refold.infrastructure.requests.request import Request
from refold.infrastructure.requests.sessions import EndByHash
from refold.infrastructure.requests.users import ForgetUser
from refold.infrastructure.sqlite.compacting import compact
from refold.infrastructure.store import Store

NOT_SCANNED: Final = (
    "contents of blobs",
    "copies, backups, exports and archives that were not named",
    "free space of disks",
)
"""Where nobody looks, on any engine."""

NOT_SOUGHT: Final = ("what was sealed under the key that was destroyed before",)
"""What nobody can look for once an erasure was done."""


def erase(
    store: Store,
    who: Person,
    archives: Sequence[Archive] = (),
    *,
    actor: str,
    progress: Progress = quietly,
) -> Certificate:
    """Erase `who`, and return what was done and what is left of them; see `Certificate`.

    Sessions end and roles go first; then one command destroys the key, releases the claims and
    says which contents are needed no more; uploads, contents, tables and files are cleared behind
    it. Of somebody who was erased before, what is left to do is done, and what can still be known
    of them is sought. Raises what commands and folding raise, `Conflict` when the user is changed
    all the time, and `UnknownUser` for who goes away meanwhile; before anything is done,
    `NoSuchArchive`, `NoArchive` and `NoPlaceForBlobs`.
    """
    for place in archives:
        verifying.check(place)
    work = _Erasure(store, who, actor, progress)
    work.forget()
    work.clean_up()
    work.scan(archives)
    return work.certificate


class _Erasure:
    def __init__(self, store: Store, who: Person, actor: str, progress: Progress) -> None:
        self._store, self._who, self._actor, self._progress = store, who, actor, progress
        self._values = set[Value]()
        self._wrapped = set[bytes]()
        self._subjects = set[str]()
        self._gone: dict[str, set[str]] = {"user": set(), "session": set(), "media": set()}
        self._removed: dict[str, Positions] = {}
        self._belongings = Belongings()
        self.certificate = Certificate(
            store.address.public, store.log.identity().log_id, who.stream, who.again
        )

    # --- the log --------------------------------------------------------------------

    def forget(self) -> None:
        """Destroy the keys, once everything that was sealed under them is known."""
        attempts = 0
        while True:
            attempts += 1
            self._collect()
            if self._belongings.contents:
                _ = self._store.blobs  # which raises NoPlaceForBlobs, before anything is destroyed
            self._take_away()
            reach("erase: sessions ended")
            if self._who.again:
                break
            try:
                self._destroy()
                break
            except Conflict:  # somebody changed the user: read what they wrote
                if attempts == ATTEMPTS:
                    raise
                self._who = person.find_by_id(self._store, self._who.id)
        self._place_erasure()
        reach("erase: key destroyed")
        if not self._who.again:
            self._look_again()

    def _look_again(self) -> None:
        """Take away what began since it was looked for, unless somebody has the name by now."""
        holder = self._store.log.holder
        free = {name for name in self._who.names if not holder(user.NAME, name.lower())}
        self._who = self._who._replace(names=frozenset(free))
        self._look()
        self._take_away()

    def _collect(self) -> None:
        """Note all that is sealed of them, and what is theirs."""
        self._look()
        store = self._store
        found = set(person.values(store, self._who, self._belongings.sessions))
        self._values |= found
        self._values |= {
            Value(seeking.EMAIL, store.vault.blind(user.EMAIL, value.text))  # as claims hold it
            for value in found
            if value.what == seeking.EMAIL
        }

    def _look(self) -> None:
        """Note what is theirs, and the keys of it."""
        store, who = self._store, self._who
        self._belongings = person.belongings(store, who.names, self._progress)
        self._subjects |= who.subjects | self._belongings.subjects
        for key in store.log.keys(sorted(self._subjects)):
            if key.wrapped is not None:
                self._wrapped.add(key.wrapped)

    def _take_away(self) -> None:
        """End their sessions, and take their roles: who gets the name gets none of them."""
        for stream in sorted(self._belongings.sessions):
            hash = streams.family_key(stream)
            self.certificate.sessions += self._run(EndByHash(hash=hash))
            self._gone["session"].add(hash)
        for asked in self._belongings.roles:
            self.certificate.roles += self._run(asked)

    def _destroy(self) -> None:
        store, who, theirs = self._store, self._who, self._belongings
        until = store.advance.head()
        used = person.used_by_others(store, theirs.contents, who.names, until)
        request = ForgetUser(who.id, sorted(theirs.contents - used), until.stored)
        command_id = person.next_command_id(store, who)
        carry_out(
            store,
            request,
            command_id=command_id,
            actor=self._actor,
            expected=len(who.history),
        )

    def _place_erasure(self) -> None:
        """Note where the log says that they were erased, and what went with them."""
        for record in self._store.log.stream(self._who.stream):
            value = self._store.codec.decode(record).value
            if isinstance(value, user.ContentsRemoved):
                self._removed.update(self._store.codec.removed_blobs(record))
            elif isinstance(value, user.Erased):
                self.certificate.position = record.position
                self.certificate.erased_at = times.text(record.recorded_at)

    def _run(self, request: Request) -> bool:
        done = carry_out(self._store, request, command_id=uuid4().hex, actor=self._actor)
        return done.outcome == "appended"

    # --- behind the log -------------------------------------------------------------

    def clean_up(self) -> None:
        """Clear uploads, contents, tables and files."""
        self._delete_uploads()
        self._delete_contents()
        self._gone["user"].add(streams.family_key(self._who.stream))
        clearing = partial(clear, self._store, self._gone)
        self.certificate.generations_dropped = patiently(clearing)
        reach("erase: tables cleared")
        address = self._store.address
        if isinstance(address, Sqlite):
            for path in (address.path, address.tables):
                self._progress(f"compact {path.name}", 0, 1)
                compact(path)
                self.certificate.scanned[f"{path.absolute()}-wal"] = 0  # it was emptied

    def _delete_uploads(self) -> None:
        """Delete what they uploaded.

        Media whose content others use stay, without them: others may show it.
        """
        theirs = dict(self._belongings.uploads)
        if self._who.again:  # by an id nobody can read under which name they uploaded
            for stream, upload in person.uploads_with(self._store, self._removed).items():
                theirs.setdefault(stream, upload).uploaders.update(upload.uploaders)
        until = self._store.advance.head()
        contents = {upload.content for upload in theirs.values()}
        used = person.used_by_others(self._store, contents, self._who.names, until)
        for stream in sorted(theirs):
            id, upload = uploads.id_of(stream), theirs[stream]
            if streams.kind(stream) == "attachment":
                self.certificate.uploads += self._run(DeleteAttachment(id=id))
                continue
            was_theirs = self._run(WithdrawMedia(id, upload.uploaders, upload.content in used))
            if media.state(self._store.history(stream)).deleted:
                self.certificate.uploads += was_theirs
                self._gone["media"].add(id)

    def _delete_contents(self) -> None:
        """Remove what the log says nobody needs, unless somebody uploaded it again since.

        One that is not there is elsewhere, and left.
        """
        needed = person.needed(self._store, self._removed)
        self.certificate.blobs_kept = len(
            (self._belongings.contents - self._removed.keys()) | needed
        )
        for sha256 in sorted(self._removed.keys() - needed):
            if self._store.blobs.head(sha256):
                self._store.blobs.delete(sha256)
                self.certificate.blobs_removed += 1
            elif not self._who.again:  # else it was removed before
                self.certificate.add([Finding("content", "blobs", "sha256", (sha256,))])

    # --- what is left ---------------------------------------------------------------

    def scan(self, archives: Sequence[Archive]) -> None:
        """Look everywhere for what is left."""
        store, made = self._store, self.certificate
        shared = scanning.shared(store, self._values, self._own_key())
        seeker = Seeker(self._values - shared)
        made.sought, made.shared = seeker.counts(), len(shared)
        if self._who.again and all(value.what in seeking.IN_THE_CLEAR for value in self._values):
            made.not_sought = NOT_SOUGHT
        events = scanning.log(store, seeker, self._progress)
        made.pushes, made.named = list(events.pushes), events.named
        made.add(events.found)
        made.add(scanning.keys(store, self._subjects))
        rows = patiently(partial(scanning.rows, store, seeker))
        made.add(rows.found)
        made.scanned |= {"events": events.count, "tables": rows.tables, "rows": rows.count}
        self._scan_files(seeker, events.seen, rows.seen)
        for place in archives:
            made.scanned[place.public], found = scanning.archive(
                place, seeker, self._subjects, self._progress
            )
            made.add(found)
        made.not_scanned = (*rows.not_asked, *_not_scanned(store))

    def _own_key(self) -> str:
        """Return the key of their rows; nobody's when somebody else has the id by now."""
        known = users.state(self._store.history(self._who.stream)).known
        return "" if known else streams.family_key(self._who.stream)

    def _scan_files(
        self, seeker: Seeker, in_events: Collection[Value], in_rows: Collection[Value]
    ) -> None:
        address = self._store.address
        if not isinstance(address, Sqlite):
            return
        for path, seen in ((address.path, in_events), (address.tables, in_rows)):
            size, found = scanning.file(path, seeker, self._wrapped, seen)
            self.certificate.scanned[str(path.absolute())] = size
            self.certificate.add(found)


def _not_scanned(store: Store) -> Sequence[str]:
    if isinstance(store.address, Postgres):
        return ("PostgreSQL's write-ahead log, dead rows and backups", *NOT_SCANNED)
    return NOT_SCANNED
