"""A file on IPFS, as PinShare's nodes know it: its names and tags, and whether it is banned.

Top to bottom: the events, the state they add up to, the decisions. Votes are streams of their own
(`tag_vote`, `removal_vote`); a file keeps the tags themselves. Each adding of a tag opens a new
*generation* of it, and votes of another generation do not count.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import reduce
from types import MappingProxyType
from typing import Final, NamedTuple, assert_never

from refold.domain import cids, times
from refold.domain.errors import Refused
from refold.domain.texts import IllFormedText, check_sha256, check_text, check_word

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """A whole file as gossip or a metadata.json tells it, with totals instead of votes.

    `tags` is None where the source said null. `extra` keeps, by name and verbatim, the fields that
    are unknown or say something else than the others here; `absent` names those left out.
    """

    cid: str = ""
    name: str = ""
    type: str = ""
    added_at: str = times.ZERO_TIME
    last_updated: str = times.ZERO_TIME
    moderation_votes: int = 0
    tags: Mapping[str, int] | None = None
    ban_set: int = 0
    extra: Mapping[str, object] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Registered:
    """The file became known; without `added_at`, at the time of the record."""

    sha256: str
    cid: str
    name: str
    type: str
    added_at: str | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """Some of the file's fields were replaced; None stands for one that stays."""

    cid: str | None = None
    name: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Replaced:
    """All fields were replaced and all moderation forgotten, as PinShare's own PUT does.

    `moderation_baseline` is what brings the removal votes that stand to a total of zero.
    """

    cid: str
    name: str
    type: str
    moderation_baseline: int
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Banned:
    code: int


@dataclass(frozen=True, slots=True)
class Unbanned:
    pass


@dataclass(frozen=True, slots=True)
class TagAdded:
    tag: str
    generation: int


@dataclass(frozen=True, slots=True)
class TagRemoved:
    tag: str
    generation: int


@dataclass(frozen=True, slots=True)
class GossipApplied:
    """Another node's record replaced fields and baselines here; own votes stay.

    `opened` gives the generation of each tag that was not there before, `removed` those that went.
    """

    sha256: str
    peer: str
    record: Record
    opened: Mapping[str, int]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """A legacy record replaced fields and baselines, as gossip does; own votes stay."""

    sha256: str
    record: Record
    opened: Mapping[str, int]
    removed: tuple[str, ...]


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "file.registered": Registered,
    "file.changed": Changed,
    "file.replaced": Replaced,
    "file.banned": Banned,
    "file.unbanned": Unbanned,
    "file.tag_added": TagAdded,
    "file.tag_removed": TagRemoved,
    "file.gossip_applied": GossipApplied,
    "file.imported": Imported,
}

Event = (
    Registered
    | Changed
    | Replaced
    | Banned
    | Unbanned
    | TagAdded
    | TagRemoved
    | GossipApplied
    | Imported
)

# --- state --------------------------------------------------------------------


class File(NamedTuple):
    known: bool = False
    sha256: str = ""
    cid: str = ""
    name: str = ""
    type: str = ""
    ban_set: int = 0
    tags: frozenset[str] = frozenset()
    generations: Mapping[str, int] = MappingProxyType({})
    """The newest generation of every tag that the file ever had."""


def evolve(file: File, event: Event) -> File:
    if isinstance(event, Changed):  # long histories are full of them: no pattern, no _replace
        known, sha256, cid, name, type, ban_set, tags, generations = file
        return File(
            known,
            sha256,
            cid if event.cid is None else event.cid,
            name if event.name is None else event.name,
            type if event.type is None else event.type,
            ban_set,
            tags,
            generations,
        )
    match event:
        case Registered(sha256, cid, name, type):
            return file._replace(known=True, sha256=sha256, cid=cid, name=name, type=type)
        case Replaced(cid, name, type):
            return file._replace(cid=cid, name=name, type=type, ban_set=0, tags=frozenset())
        case Banned(code):
            return file._replace(ban_set=code)
        case Unbanned():
            return file._replace(ban_set=0)
        case TagAdded(tag, generation):
            return file._replace(
                tags=file.tags | {tag}, generations={**file.generations, tag: generation}
            )
        case TagRemoved(tag):
            return file._replace(tags=file.tags - {tag})
        case (
            GossipApplied(sha256=sha256, record=record, opened=opened)
            | Imported(sha256=sha256, record=record, opened=opened)
        ):
            return File(
                known=True,
                sha256=sha256,
                cid=record.cid,
                name=record.name,
                type=record.type,
                ban_set=record.ban_set,
                tags=frozenset(record.tags or ()),
                generations={**file.generations, **opened},
            )
        case _:
            assert_never(event)


def after(*events: Event) -> File:
    return reduce(evolve, events, File())


def last_updated(value: object, recorded_at: int) -> str:
    """Return the file's `lastUpdated` after an event of its family, votes included.

    A record from elsewhere brings its own clock; everything else counts when it was recorded.
    """
    match value:
        case GossipApplied() | Imported():
            return value.record.last_updated
        case _:
            return times.text(recorded_at)


# --- decisions ----------------------------------------------------------------

BAN_CODES: Final = {3: "policy violation", 6: "indecent", 9: "malware"}
LONGEST_RECORD_TEXT: Final = 1024
"""UTF-8 bytes of a key, cid, type or tag in a record from elsewhere: tables index them."""


class UnknownFile(Refused):
    """No file with this sum is known."""


class CidDoesNotMatch(Refused):
    """A raw CID holds the SHA-256 of the content; this one holds another."""


class UnknownBanCode(Refused):
    """A ban says why: 3 policy violation, 6 indecent, 9 malware; 0 lifts it."""


class Tie(Enum):
    """What to do with gossip exactly as new as what is known: upstream PinShare keeps."""

    KEEP = "keep"
    REPLACE = "replace"


def register(
    file: File, sha256: str, cid: str, name: str = "", type: str = "", added_at: str | None = None
) -> list[Event]:
    """Make a file known, or change the fields of a known one; its moderation stays."""
    check_fields(name=name, type=type, cid=cid)
    check_cid(sha256, cid)
    if file.known:
        return change(file, sha256, cid=cid, name=name, type=type)
    check_sha256(sha256)
    if added_at is not None:
        times.instant(added_at)
    return [Registered(sha256, cid, name, type, added_at)]


def change(
    file: File,
    sha256: str,
    cid: str | None = None,
    name: str | None = None,
    type: str | None = None,
) -> list[Event]:
    check_known(file, sha256)
    check_fields(name=name, type=type, cid=cid)
    if cid is not None:
        check_cid(sha256, cid)
    change = Changed(
        cid=None if cid == file.cid else cid,
        name=None if name == file.name else name,
        type=None if type == file.type else type,
    )
    return [] if change == Changed() else [change]


def replace_all(
    file: File, sha256: str, cid: str, name: str = "", type: str = "", *, removal_votes: int
) -> list[Event]:
    """Replace a file as PinShare's own PUT does: tags, votes and ban are gone.

    `removal_votes` is the sum of the removal votes that stand, without any baseline.
    """
    check_known(file, sha256)
    check_fields(name=name, type=type, cid=cid)
    check_cid(sha256, cid)
    return [Replaced(cid, name, type, -removal_votes, tuple(sorted(file.tags)))]


def ban(file: File, sha256: str, code: int) -> list[Event]:
    check_known(file, sha256)
    if code == 0:
        return unban(file, sha256)
    if code not in BAN_CODES:
        raise UnknownBanCode(f"ban code {code} is not one of 0, 3, 6, 9")
    return [] if file.ban_set == code else [Banned(code)]


def unban(file: File, sha256: str) -> list[Event]:
    check_known(file, sha256)
    return [Unbanned()] if file.ban_set else []


def add_tag(file: File, sha256: str, tag: str) -> list[Event]:
    """Add a tag with count 0; one that is there already keeps its votes."""
    check_known(file, sha256)
    if tag in file.tags:
        return []
    check_word("tag", tag)
    return [_opened(file, tag)]


def reset_tag(file: File, sha256: str, tag: str) -> list[Event]:
    """Set a tag's count to 0, as PinShare's own AddTag does; it need not be there."""
    check_known(file, sha256)
    check_word("tag", tag)
    return [*remove_tag(file, sha256, tag), _opened(file, tag)]


def remove_tag(file: File, sha256: str, tag: str) -> list[Event]:
    check_known(file, sha256)
    return [TagRemoved(tag, file.generations[tag])] if tag in file.tags else []


def apply_gossip(
    file: File,
    sha256: str,
    record: Record,
    peer: str,
    newest: str | None,
    tie: Tie = Tie.KEEP,
) -> list[Event]:
    """Take over another node's record if it is newer than `newest`, the family's `last_updated`.

    Compared as instants, to the nanosecond; stale gossip is no news.
    """
    if not file.known:
        check_sha256(sha256)
    check_record(sha256, record)
    check_text("peer", peer)
    if newest is not None:
        ours, theirs = times.instant(newest), times.instant(record.last_updated)
        if theirs < ours or (theirs == ours and tie is Tie.KEEP):
            return []
    opened, removed = _tags_of(file, record)
    return [GossipApplied(sha256, peer, record, opened, removed)]


def import_record(file: File, sha256: str, record: Record) -> list[Event]:
    """Take over a legacy record as it is; odd keys and ban codes included."""
    check_record(sha256, record)
    opened, removed = _tags_of(file, record)
    return [Imported(sha256, record, opened, removed)]


def _opened(file: File, tag: str) -> TagAdded:
    return TagAdded(tag, file.generations.get(tag, 0) + 1)


def _tags_of(file: File, record: Record) -> tuple[dict[str, int], tuple[str, ...]]:
    tags = record.tags or {}
    opened = {tag: _opened(file, tag).generation for tag in tags if tag not in file.tags}
    return opened, tuple(sorted(file.tags.difference(tags)))


# --- what a file's fields may be ------------------------------------------------


def check_known(file: File, sha256: str) -> None:
    if not file.known:
        check_sha256(sha256)
        raise UnknownFile(f"no file {sha256} is known")


def check_cid(sha256: str, cid: str) -> None:
    """Raise `CidDoesNotMatch` when `cid` is a raw CID of other content than `sha256`."""
    digest = cids.raw_digest(cid)
    if digest is not None and digest != sha256:
        raise CidDoesNotMatch(f"cid {cid} is that of content with SHA-256 {digest}, not {sha256}")


def check_fields(*, name: str | None, type: str | None, cid: str | None) -> None:
    if name:
        check_word("name", name)
    if type:
        check_word("type", type)
    if cid is not None:
        check_word("cid", cid)


def check_record(sha256: str, record: Record) -> None:
    """Raise a `Refused` when a record from elsewhere cannot be kept."""
    if not sha256:
        raise IllFormedText("the key of the record is empty")
    for what, text in [
        ("key", sha256),
        ("cid", record.cid),
        ("type", record.type),
        *(("tag", tag) for tag in record.tags or ()),
    ]:
        if what in ("key", "tag"):
            check_text(what, text)
        if len(text.encode(errors="surrogatepass")) > LONGEST_RECORD_TEXT:
            raise IllFormedText(f"{what} {text[:40]!r}… is longer than {LONGEST_RECORD_TEXT} bytes")
    for number in (record.moderation_votes, record.ban_set, *(record.tags or {}).values()):
        if not -(2**63) <= number < 2**63:
            raise IllFormedText(f"the number {number} does not fit 64 bits")
    times.instant(record.added_at)
    times.instant(record.last_updated)
