"""PinShare's MetadataStore on a refold store: its ten operations, with votes that add up.

Records are dicts with PinShare's nine JSON fields. What PinShare loses by design is kept here
unless the constructor is told otherwise.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256 as digest_of
from os import fsync
from pathlib import Path
from typing import Any, Final, Literal
from uuid import uuid4

from refold.domain import file, streams, times
from refold.domain.errors import BadInput, Conflict
from refold.domain.texts import IllFormedText
from refold.infrastructure.commands import Done, carry_out, run
from refold.infrastructure.legacy.importing import Importer, Record, Refusal, Report
from refold.infrastructure.legacy.pinshare import records as pinshare
from refold.infrastructure.legacy.pinshare.exporting import export_pinshare
from refold.infrastructure.requests.files import state
from refold.infrastructure.requests.request import Request, Situation
from refold.infrastructure.services.files import FileView, list_files, show_file, show_with_votes
from refold.infrastructure.store import Store
from refold.projections.columns import storable

Document = dict[str, Any]
"""A file as PinShare's JSON has it: fileSHA256, ipfsCID, fileName, fileType, lastUpdated, addedAt,
moderationVotes, tags (never null), banSet."""

_FIELDS: Final = {
    "fileSHA256": "sha256",
    "ipfsCID": "cid",
    "fileName": "name",
    "fileType": "type",
}
_MODERATION: Final = ("moderationVotes", "tags", "banSet")
_PUT: Final = {"keep": "file.change", "replace": "file.replace"}
_RE_ADD_TAG: Final = {"keep": "file.add_tag", "reset": "file.reset_tag"}
_TIE: Final = {tie.value: tie for tie in file.Tie}


class MetadataStore:
    """The store that PinShare's daemon and command line work on, safe for many threads.

    `put="keep"` lets a file that is added again keep its tags, votes, ban, and the fields that
    were not given; "replace" forgets them, as PinShare does. `re_add_tag="keep"` lets a tag keep
    its votes, "reset" sets them to 0. `tie` says what becomes of gossip exactly as new as what is
    known: upstream keeps, the fork replaces. The store stays its opener's, who closes it.

    An operation on a file that is not known raises `UnknownFile`, or `NotASha256` when no file
    could have that sum; other refusals are those of `domain.file` and `domain.tag_vote`. A
    `command_id` makes it safe to ask again after `Unavailable`. `lastUpdated` moves when something
    changed: what changes nothing is no news.
    """

    def __init__(
        self,
        store: Store,
        *,
        actor: str = "pinshare",
        put: Literal["keep", "replace"] = "keep",
        re_add_tag: Literal["keep", "reset"] = "keep",
        tie: Literal["keep", "replace"] = "keep",
    ) -> None:
        _check_choice("put", put, _PUT)
        _check_choice("re_add_tag", re_add_tag, _RE_ADD_TAG)
        _check_choice("tie", tie, _TIE)
        self._store = store
        self._actor = actor
        self._put = _PUT[put]
        self._add_tag = _RE_ADD_TAG[re_add_tag]
        self._tie = _TIE[tie]

    # --- the whole store ----------------------------------------------------------

    def load(self, path: Path) -> Report:
        """Take over the records of a metadata.json that are new or newer than those here.

        Their totals count as they stand, votes cast here included, so a file that `save` wrote
        changes nothing. Files that are not in it stay; one that is missing or empty has none.
        Raises `Truncated` or `NotMetadata` for what is broken, and takes nothing of it.
        """
        if not path.exists():
            return Report()
        known = {view.sha256: view for view in list_files(self._store)}
        importer = Importer(self._store, "pinshare", actor=self._actor)
        importer.take(_records(path, known))
        return importer.finish()

    def save(self, path: Path) -> int:
        """Write all files as a metadata.json, whole or not at all, and return their number.

        Raises `BadInput` when the file cannot be written.
        """
        unfinished = path.with_name(f"{path.name}.{uuid4().hex}.part")
        try:
            with unfinished.open("x", encoding="utf-8", newline="") as out:
                records = export_pinshare(self._store, out)
                out.flush()
                fsync(out.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise BadInput(f"{path} cannot be written: {error.strerror}") from error
        finally:
            unfinished.unlink(missing_ok=True)
        return records

    # --- files --------------------------------------------------------------------

    def add_file(self, meta: Mapping[str, Any], *, command_id: str | None = None) -> None:
        """Make a file known, or put fields of a known one; `addedAt` is that of the first time.

        Times in `meta` are ignored. Raises `BadInput` when it has moderation or unknown fields.
        """
        id = command_id or str(uuid4())
        fields = _fields(meta)
        while True:
            try:
                self._run(self._put, fields, id)
                return
            except file.UnknownFile:
                pass
            try:
                run(self._store, "file.register", fields, command_id=id, actor=self._actor,
                    expected=0)  # fmt: skip
                return
            except Conflict:  # somebody else was faster: it is known now
                continue

    def get_file(self, sha256: str) -> Document | None:
        """Return the file as the log has it now, None when it is not known."""
        try:
            return _document(show_file(self._store, sha256))
        except (file.UnknownFile, IllFormedText):
            return None

    def get_all_files(self) -> list[Document]:
        """Return all files, banned ones too, by `addedAt` to the microsecond, then by sum."""
        return [_document(view) for view in list_files(self._store)]

    def ban_file(self, sha256: str, reason: int, *, command_id: str | None = None) -> None:
        """Ban for 3 policy violation, 6 indecent, 9 malware; 0 lifts it. Or `UnknownBanCode`."""
        self._run("file.ban", {"sha256": sha256, "code": reason}, command_id)

    # --- tags and votes -----------------------------------------------------------

    def add_tag(self, sha256: str, tag: str, *, command_id: str | None = None) -> None:
        """Add a tag with count 0; one that is there follows `re_add_tag`."""
        self._run(self._add_tag, {"sha256": sha256, "tag": tag}, command_id)

    def remove_tag(self, sha256: str, tag: str, *, command_id: str | None = None) -> None:
        """Remove a tag and its votes; one that is not there is no error."""
        self._run("file.remove_tag", {"sha256": sha256, "tag": tag}, command_id)

    def vote_on_tag(
        self,
        sha256: str,
        tag: str,
        up: bool,
        *,
        voter: str | None = None,
        command_id: str | None = None,
    ) -> None:
        """Count one vote up or down on a tag; one that is not there is added first.

        A `voter` has one vote on each tag and may turn it round; without one each call counts.
        """
        id = command_id or str(uuid4())
        vote = {"sha256": sha256, "tag": tag, "voter": _voter(voter, id), "stance": _stance(up)}
        self._run("tag_vote.cast", vote, id)

    def vote_for_removal(
        self,
        sha256: str,
        up: bool,
        *,
        voter: str | None = None,
        command_id: str | None = None,
    ) -> None:
        """Count one vote for or against the removal of a file; voters as in `vote_on_tag`."""
        id = command_id or str(uuid4())
        vote = {"sha256": sha256, "voter": _voter(voter, id), "stance": _stance(up)}
        self._run("removal_vote.cast", vote, id)

    # --- gossip -------------------------------------------------------------------

    def apply_gossip_update(
        self, meta: Mapping[str, Any], *, peer: str = "", command_id: str | None = None
    ) -> bool:
        """Take over another node's record if it is newer than what is known; tell whether it was.

        Votes cast here are added to its totals. Of a record exactly as new, which `tie="replace"`
        takes over, the totals count as they stand; one that says the same again is no news.
        """
        id = command_id or str(uuid4())
        sha256, record = pinshare.gossip(meta)
        known = self.get_file(sha256)
        if known and self._tie is file.Tie.REPLACE and _is_as_new(record, known["lastUpdated"]):
            request: Request = _TakeOver(sha256, record, peer, self._tie)
            done = carry_out(self._store, request, command_id=id, actor=self._actor)
            return done.outcome != "unchanged"
        fields = {"record": dict(meta), "peer": peer}
        return self._run("file.apply_gossip", fields, id).outcome != "unchanged"

    def _run(self, name: str, fields: Mapping[str, Any], command_id: str | None) -> Done:
        id = command_id or str(uuid4())
        return run(self._store, name, fields, command_id=id, actor=self._actor)


# --- records ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _TakeOver:
    """Take over a record whose totals count the votes cast here already."""

    sha256: str
    record: file.Record
    peer: str
    tie: file.Tie

    def stream(self) -> str:
        return streams.name("file", self.sha256)

    def found_by(self) -> None:
        return None

    def claims(self, values: Sequence[object]) -> frozenset[tuple[str, str]]:  # noqa: ARG002 - none
        return frozenset()

    def decide(self, now: Situation) -> Sequence[object]:
        known = state(now.events)
        if not known.known:
            return file.import_record(known, self.sha256, self.record)
        shown, here = show_with_votes(now.store, self.sha256)  # of one instant
        newest = shown.last_updated
        if not _is_newer(self.record, newest) and (
            self.tie is file.Tie.KEEP or _says(self.record, _document(shown))
        ):
            return []
        tags = self.record.tags
        baseline = replace(
            self.record,
            moderation_votes=self.record.moderation_votes - here.on_removal,
            tags=tags and {tag: count - here.on_tags.get(tag, 0) for tag, count in tags.items()},
        )
        return file.apply_gossip(known, self.sha256, baseline, self.peer, newest, self.tie)


def _records(path: Path, known: Mapping[str, FileView]) -> Iterator[Record | Refusal]:
    """Yield what a metadata.json asks to take over."""
    for entry in pinshare.read(path):
        key, record, notes = entry.key, entry.record, entry.notes
        if record is None:
            yield Refusal(key, path.name, entry.line, entry.refusal or "")
            continue
        here = known.get(key)
        if here and not (_is_newer(record, here.last_updated) or _says(record, _document(here))):
            notes = (*notes, "not taken over: what is known is as new or newer")
        request = _TakeOver(key, record, "metadata.json", file.Tie.KEEP)
        time = record.last_updated
        yield Record(key, path.name, entry.line, entry.digest, time, request, notes)


def _fields(meta: Mapping[str, Any]) -> Document:
    """Return the fields of a command that puts `meta`."""
    if not isinstance(meta, Mapping):
        raise BadInput(f"a file is an object, not a {type(meta).__name__}")
    unknown = meta.keys() - _FIELDS.keys() - {"lastUpdated", "addedAt", *_MODERATION}
    if unknown:
        raise BadInput(f"a file has no field {min(unknown, key=str)!r}")
    for name in _MODERATION:
        if meta.get(name):
            raise BadInput(f"{name} is not set by adding a file but by tags, votes and bans")
    return {ours: meta[theirs] for theirs, ours in _FIELDS.items() if theirs in meta}


def _document(view: FileView) -> Document:
    return {
        "fileSHA256": view.sha256,
        "ipfsCID": view.cid,
        "fileName": view.name,
        "fileType": view.type,
        "lastUpdated": view.last_updated,
        "addedAt": view.added_at,
        "moderationVotes": view.moderation_votes,
        "tags": dict(view.tags),
        "banSet": view.ban_set,
    }


def _says(record: file.Record, known: Document) -> bool:
    """Tell whether a record has the fields that are known, whatever its times."""
    return known == known | {
        "ipfsCID": storable(record.cid),
        "fileName": storable(record.name),
        "fileType": storable(record.type),
        "moderationVotes": record.moderation_votes,
        "tags": dict(record.tags or {}),
        "banSet": record.ban_set,
    }


def _is_newer(record: file.Record, than: str) -> bool:
    return times.instant(record.last_updated) > times.instant(than)


def _is_as_new(record: file.Record, time: str) -> bool:
    return times.instant(record.last_updated) == times.instant(time)


def _voter(voter: str | None, command_id: str) -> str:
    """Return who votes; somebody without a name is another one with each command id."""
    if voter is not None:
        return voter
    return f"anonymous-{digest_of(command_id.encode(errors='surrogatepass')).hexdigest()}"


def _stance(up: bool) -> int:
    return 1 if up else -1


def _check_choice(name: str, value: str, choices: Collection[str]) -> None:
    if value not in choices:
        raise BadInput(f"{name} is {value!r}, not one of {', '.join(choices)}")
