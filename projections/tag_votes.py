"""Who votes how on which tag of which file."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from refold.domain import tag_vote
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.projections.columns import integer, table, text

NAME: Final = "tag_votes"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"file/tag_vote"})

TABLE: Final = table(
    NAME,
    "One row a vote that stands. It counts while its generation is that of the tag in file_tags.",
    text("sha256", "the file, as in files", key=True),
    text("tag", "the tag, case-sensitive", key=True),
    text("voter", "who votes", key=True),
    integer("generation", "the generation of the tag that the vote was cast in"),
    integer("stance", "1 for the tag, -1 against it"),
)
INDEXES: Final = (("voter",),)
SEARCH: Final = None


class Row(NamedTuple):
    sha256: str
    tag: str
    voter: str
    generation: int
    stance: int


def keys(event: Event) -> Iterable[tuple[str, str, str]]:
    match event.value:
        case tag_vote.Cast() | tag_vote.Changed() | tag_vote.Withdrawn() as vote:
            return [(family_key(event.recorded.stream), vote.tag, vote.voter)]
        case _:
            return []


def family(key: tuple[str, str, str]) -> str:
    return f"file-{key[0]}"


def apply(key: tuple[str, str, str], row: Row | None, event: Event) -> Row | None:
    match event.value:
        case tag_vote.Cast() | tag_vote.Changed() as vote:
            return Row(*key, vote.generation, vote.stance)
        case tag_vote.Withdrawn():
            return None
        case _:
            return row
