"""Imports PinShare's metadata.json."""

from collections.abc import Iterable, Iterator, Sequence, Set
from functools import partial
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
    return import_checked(store, checked(path), source=source, actor=actor, progress=progress)


def checked(path: Path) -> Iterator[Record | Refusal]:
    """Check a metadata.json whole, then return what is to be imported. Raises `BadInput`."""
    return map(partial(_taken, path.name), pinshare.read(path))


def import_checked(
    store: Store,
    records: Iterable[Record | Refusal],
    *,
    source: str = "pinshare",
    actor: str = "import",
    progress: Progress = quietly,
) -> Report:
    """Import what `checked` returned; see `import_pinshare`."""
    importer = Importer(store, source, actor=actor, progress=progress)
    importer.take(records)
    return importer.finish()


def _taken(file: str, entry: pinshare.Entry) -> Record | Refusal:
    if entry.record is None:
        return Refusal(entry.key, file, entry.line, entry.refusal or "")
    request = _ImportFile(entry.key, entry.record)
    return Record(
        entry.key,
        file,
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
