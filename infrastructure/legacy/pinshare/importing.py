"""Imports PinShare's metadata.json."""

from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from refold.domain import file, streams
from refold.infrastructure.legacy.importing import Importer, Record, Refusal, Report
from refold.infrastructure.legacy.pinshare import records as pinshare
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.requests.request import Situation
from refold.infrastructure.store import Store


def import_pinshare(
    store: Store,
    path: Path,
    *,
    source: str = "pinshare",
    actor: str = "import",
    progress: Progress = quietly,
) -> Report:
    """Import a metadata.json: what is new or differs from the last import of `source`.

    A record that differs is a new event that replaces fields and baselines; own votes stay. The
    full blocks of the log are sealed and the tables folded at the end. Raises `BadInput` for a
    file that is truncated or something else, before anything is written.
    """
    importer = Importer(store, source, actor=actor, progress=progress)
    importer.take(_records(path))
    return importer.finish()


def _records(path: Path) -> Iterator[Record | Refusal]:
    for entry in pinshare.read(path):
        if entry.record is None:
            yield Refusal(entry.key, path.name, entry.line, entry.refusal or "")
        else:
            request = _ImportFile(entry.key, entry.record)
            yield Record(
                entry.key,
                path.name,
                entry.line,
                entry.digest,
                entry.record.last_updated,
                request,
                entry.notes,
            )


class _ImportFile(NamedTuple):
    key: str
    record: file.Record

    def stream(self) -> str:
        return streams.name("file", self.key)

    def found_by(self) -> None:
        return None

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:  # noqa: ARG002 - none
        return frozenset()

    def decide(self, now: Situation) -> Sequence[object]:
        state = file.after(*(event.value for event in now.events))  # type: ignore[arg-type]
        return file.import_record(state, self.key, self.record)
