"""Requests about a service's own data migrations."""

from collections.abc import Sequence

from refold.domain import migration, streams
from refold.domain.ports import Valued
from refold.domain.texts import check_word
from refold.infrastructure.requests.request import Fields, Situation


def state(events: Sequence[Valued]) -> migration.Migration:
    """Return the migration that its events add up to."""
    return migration.after(*(event.value for event in events))  # type: ignore[arg-type]


class _OfMigration(Fields):
    id: str

    def stream(self) -> str:
        check_word("migration id", self.id)
        return streams.name("migration", self.id)


class RecordMigration(_OfMigration):
    """Note that a migration was run."""

    def decide(self, now: Situation) -> Sequence[object]:
        return migration.record(state(now.events), self.id)


class RevertMigration(_OfMigration):
    """Note that a migration was taken back."""

    def decide(self, now: Situation) -> Sequence[object]:
        return migration.revert(state(now.events), self.id)
