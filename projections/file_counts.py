"""Counts of files that change with every vote: votes for removal, and when a file last changed."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from refold.domain import file, removal_vote, tag_vote, times
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.projections.columns import integer, table, text

NAME: Final = "file_counts"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"file", "file/tag_vote", "file/removal_vote"})

TABLE: Final = table(
    NAME,
    "One row a file: the counts that change with every vote, apart from the wide row of files.",
    text("sha256", "the file, as in files", key=True),
    integer("moderation_votes", "votes for removal less votes against, the baseline included"),
    integer("moderation_baseline", "the part of them that came without voters, from records"),
    text("last_updated", "when the file or a vote on it last changed, RFC 3339"),
    integer("last_updated_us", "the same in microseconds since 1970 UTC"),
)
INDEXES: Final[tuple[tuple[str, ...], ...]] = ()
SEARCH: Final = None


class Row(NamedTuple):
    sha256: str
    moderation_votes: int = 0
    moderation_baseline: int = 0
    last_updated: str = times.ZERO_TIME
    last_updated_us: int = 0


def keys(event: Event) -> Iterable[tuple[str]]:
    return [(family_key(event.recorded.stream),)]


def family(key: tuple[str]) -> str:
    return f"file-{key[0]}"


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    value, at = event.value, event.recorded.recorded_at
    updated = file.last_updated(value, at)
    votes, baseline = (row.moderation_votes, row.moderation_baseline) if row else (0, 0)
    match value:
        case tag_vote.Cast() | file.TagAdded() | file.Registered():
            pass  # most events of most logs: they tell the time alone
        case removal_vote.Cast() | removal_vote.Changed() | removal_vote.Withdrawn():
            votes += removal_vote.swing(value)
        case file.Imported() | file.GossipApplied():
            record = value.record
            votes, baseline = votes - baseline + record.moderation_votes, record.moderation_votes
            at = times.micros(record.last_updated)
        case file.Replaced(moderation_baseline=replaced):
            votes, baseline = votes - baseline + replaced, replaced
    return Row(*key, votes, baseline, updated, at)
