"""Tags of files, and how many votes each has."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from refold.domain import file, tag_vote
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.projections.columns import integer, table, text

NAME: Final = "file_tags"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"file", "file/tag_vote"})

TABLE: Final = table(
    NAME,
    "One row a tag that a file has now, with its votes.",
    text("sha256", "the file, as in files", key=True),
    text("tag", "the tag, case-sensitive", key=True),
    integer("generation", "how often the tag was added; votes of another generation do not count"),
    integer("baseline", "the part of the count that came without voters, from records"),
    integer("tag_count", "votes for the tag less votes against, the baseline included"),
)
INDEXES: Final = (("tag",),)
SEARCH: Final = None


class Row(NamedTuple):
    sha256: str
    tag: str
    generation: int
    baseline: int = 0
    tag_count: int = 0


def keys(event: Event) -> Iterable[tuple[str, str]]:
    sha256 = family_key(event.recorded.stream)
    match event.value:
        case tag_vote.Cast() | tag_vote.Changed() | tag_vote.Withdrawn() as vote:
            return [(sha256, vote.tag)]
        case file.TagAdded() | file.TagRemoved() as change:
            return [(sha256, change.tag)]
        case file.Imported() | file.GossipApplied() as told:
            return [(sha256, tag) for tag in (*(told.record.tags or ()), *told.removed)]
        case file.Replaced(removed=gone):
            return [(sha256, tag) for tag in gone]
        case _:
            return []


def family(key: tuple[str, str]) -> str:
    return f"file-{key[0]}"


def apply(key: tuple[str, str], row: Row | None, event: Event) -> Row | None:
    match event.value:
        case tag_vote.Cast() | tag_vote.Changed() | tag_vote.Withdrawn() as vote:
            if row is None or row.generation != vote.generation:
                return row
            return Row(*row[:-1], row.tag_count + tag_vote.swing(vote))
        case file.TagAdded() as added:
            return Row(*key, added.generation)
        case file.Imported() | file.GossipApplied() as told:
            return _from_record(key, row, told.record, told.opened.get(key[1]))
        case file.TagRemoved() | file.Replaced():
            return None
        case _:
            return row


def _from_record(
    key: tuple[str, str], row: Row | None, record: file.Record, opened: int | None
) -> Row | None:
    """Return the row on the record's baseline; votes of a generation that goes on stay."""
    baseline = (record.tags or {}).get(key[1])
    if baseline is None:
        return None
    if row is None or opened is not None:
        return Row(*key, opened or 1, baseline, baseline)
    cast_here = row.tag_count - row.baseline
    return row._replace(baseline=baseline, tag_count=baseline + cast_here)
