"""Which ids lead to which push: the one that it has, and all that it ever had."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from refold.domain import push
from refold.domain.ports import Event
from refold.projections.columns import table, text

NAME: Final = "push_aliases"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"push"})

TABLE: Final = table(
    NAME,
    "One row an id that a push has or had, deleted ones included.",
    text("stream", "the push, as in pushes", key=True),
    text("id", "the id, case-sensitive", key=True),
)
INDEXES: Final = (("id",),)
SEARCH: Final = None


class Row(NamedTuple):
    stream: str
    id: str


def keys(event: Event) -> Iterable[tuple[str, str]]:
    match event.value:
        case push.Recorded(id) | push.Rekeyed(id) | push.Imported(id):
            return [(event.recorded.stream, id)]
        case _:
            return []


def family(key: tuple[str, str]) -> str:
    return key[0]


def apply(key: tuple[str, str], row: Row | None, event: Event) -> Row | None:
    match event.value:
        case push.Recorded() | push.Rekeyed() | push.Imported():
            return Row(*key)
        case _:
            return row
