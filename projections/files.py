"""Files: what each is called, where it is to be found, whether it is banned, how it is tagged.

The row also carries what a search looks at; counts that change with each vote are in
`file_counts` and `file_tags`.
"""

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from refold.domain import file, times
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.projections.columns import integer, log_position, storable, table, text
from refold.projections.words import Document, document

NAME: Final = "files"
VERSION: Final = 5  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"file"})

TABLE: Final = table(
    NAME,
    "One row a file: what it is called, where it is, whether it is banned, how it is tagged.",
    text("sha256", "SHA-256 of the content, as in the stream's name: % and / encoded", key=True),
    text("key", "the sum as it was given; differs from sha256 only for odd imported keys"),
    text("cid", "IPFS content id"),
    text("name", "original file name, may be empty"),
    text("type", "extension in lower case, without dot"),
    integer("ban_set", "0 not banned, 3 policy violation, 6 indecent, 9 malware, others imported"),
    text("added_at", "when the file was first added, RFC 3339 as the source gave it"),
    integer("added_at_us", "the same in microseconds since 1970 UTC"),
    log_position("added_place", "of its first event: 256 times the position, plus the partition"),
    text("tags", "names of the file's tags, a sorted JSON array; counts are in file_tags"),
    text("source", "what an imported record had that no column says, JSON", null=True),
)
INDEXES: Final = (("cid",), ("type",), ("added_at_us", "sha256"), ("added_place",))


class Row(NamedTuple):
    sha256: str
    key: str
    cid: str = ""
    name: str = ""
    type: str = ""
    ban_set: int = 0
    added_at: str = times.ZERO_TIME
    added_at_us: int = 0
    added_place: int = 0
    tags: str = "[]"
    source: str | None = None


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(family_key(event.recorded.stream),)]


def family(key: tuple[str]) -> str:
    return f"file-{key[0]}"


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    """Return the row after `event`; a file that was never registered or imported has none."""
    value = event.value
    match value:
        case file.Registered() as new:
            added_at = new.added_at or times.text(event.recorded.recorded_at)
            return Row(
                *key,
                new.sha256,
                storable(new.cid),
                storable(new.name),
                storable(new.type),
                0,
                added_at,
                times.micros(added_at) if new.added_at else event.recorded.recorded_at,
                _place(event),
            )
        case file.Imported() | file.GossipApplied() as told:
            record = told.record
            first = row.added_place if row else _place(event)
            return Row(
                *key,
                told.sha256,
                storable(record.cid),
                storable(record.name),
                storable(record.type),
                record.ban_set,
                record.added_at,
                times.micros(record.added_at),
                first,
                _array(record.tags or ()),
                _source(record),
            )
    if row is None:
        return None
    match value:
        case file.TagAdded() as added:
            return _tagged(row, _with(row.tags, added.tag))
        case file.TagRemoved() as removed:
            return _tagged(row, _without(row.tags, removed.tag))
        case file.Banned(code):
            return row._replace(ban_set=code)
        case file.Unbanned():
            return row._replace(ban_set=0)
        case file.Changed() as change:
            return _changed(row, change.cid, change.name, change.type)
        case file.Replaced(cid, name, type):
            return _changed(row._replace(ban_set=0, tags="[]"), cid, name, type)
        case _:
            return row


def _place(event: Event) -> int:
    """Return a number that no other event of the log has, and that grows in a partition."""
    return event.recorded.position << 8 | event.recorded.partition


def SEARCH(row: Row) -> Document:  # noqa: N802 - part of the declaration, like TABLE
    """Return what a search for this file looks at."""
    return document(row.name, msgspec.json.decode(row.tags), row.type)


def _changed(row: Row, cid: str | None, name: str | None, type: str | None) -> Row:
    return row._replace(
        cid=row.cid if cid is None else storable(cid),
        name=row.name if name is None else storable(name),
        type=row.type if type is None else storable(type),
    )


def _tagged(row: Row, tags: str) -> Row:
    # Most of what changes are tags, and `_replace` would take twice as long.
    return Row(*row[:-2], tags, row.source)


@lru_cache(maxsize=4_096)  # many files have the same few tags
def _with(tags: str, tag: str) -> str:
    return _array({*msgspec.json.decode(tags), tag})


def _without(tags: str, tag: str) -> str:
    return _array({*msgspec.json.decode(tags)} - {tag})


def _array(tags: Iterable[str]) -> str:
    return msgspec.json.encode(sorted(tags)).decode()


def _source(record: file.Record) -> str | None:
    texts = {"cid": record.cid, "name": record.name, "type": record.type}
    said = {
        "absent": list(record.absent),
        "extra": record.extra,
        "null_tags": record.tags is None and "tags" not in record.absent,
        "verbatim": {field: text for field, text in texts.items() if storable(text) != text},
    }
    if not any(said.values()):
        return None
    return json.dumps(said, sort_keys=True, separators=(",", ":"))
