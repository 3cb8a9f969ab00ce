"""Which data migrations a service has run."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from refold.domain import migration, streams
from refold.domain.ports import Event
from refold.projections.columns import integer, storable, table, text

NAME: Final = "applied_migrations"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"migration"})

TABLE: Final = table(
    NAME,
    "One row a data migration that a service has run, and not taken back.",
    text("id", "the migration's id, as the service calls it", key=True),
    integer("applied_at_us", "when that was noted, in microseconds since 1970 UTC"),
)
INDEXES: Final = ()
SEARCH: Final = None


class Row(NamedTuple):
    id: str
    applied_at_us: int


def keys(event: Event) -> Iterable[tuple[str]]:
    match event.value:
        case migration.Applied(id) | migration.Reverted(id):
            return [(storable(id),)]
        case _:
            return []


def family(key: tuple[str]) -> str:
    return streams.name("migration", key[0])


def apply(key: tuple[str], row: Row | None, event: Event) -> Row | None:
    match event.value:
        case migration.Applied():
            return Row(*key, event.recorded.recorded_at)
        case migration.Reverted():
            return None
        case _:
            return row
