"""A data migration of a service: git-proxy keeps which of its own it has run, by their ids."""

from dataclasses import dataclass
from functools import reduce
from typing import Final, NamedTuple, assert_never

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied:
    """The migration was run."""

    id: str


@dataclass(frozen=True, slots=True)
class Reverted:
    """The migration was taken back."""

    id: str


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "migration.applied": Applied,
    "migration.reverted": Reverted,
}

Event = Applied | Reverted

# --- state --------------------------------------------------------------------


class Migration(NamedTuple):
    applied: bool = False


def evolve(_: Migration, event: Event) -> Migration:
    match event:
        case Applied():
            return Migration(applied=True)
        case Reverted():
            return Migration(applied=False)
        case _:
            assert_never(event)


def after(*events: Event) -> Migration:
    return reduce(evolve, events, Migration())


# --- decisions ----------------------------------------------------------------


def record(migration: Migration, id: str) -> list[Event]:
    """Note that the migration was run; once is enough."""
    return [] if migration.applied else [Applied(id)]


def revert(migration: Migration, id: str) -> list[Event]:
    """Note that the migration was taken back; one that was not run is no error."""
    return [Reverted(id)] if migration.applied else []
