"""Brings records of a legacy store into the log: idempotent, resumable, each one accounted for."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Final

from refold.domain import file, streams
from refold.domain.errors import Conflict, Refused
from refold.domain.ports import Appended, Command, Event, Write
from refold.infrastructure import chain
from refold.infrastructure.codec import Metadata, Origin, decode_metadata, encode_metadata
from refold.infrastructure.folding.folder import PARTITION
from refold.infrastructure.legacy import pinshare
from refold.infrastructure.legacy.pinshare import Entry
from refold.infrastructure.store import Store

BATCH: Final = 500
"""Records that go in with one commit."""


@dataclass(slots=True)
class Report:
    """What became of each record: records = imported + unchanged + refused.

    `refused` and `notes` are (key, sentence).
    """

    records: int = 0
    imported: int = 0
    unchanged: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    events: int = 0
    seconds: float = 0.0


def import_pinshare(
    store: Store,
    path: Path,
    *,
    source: str = "pinshare",
    actor: str = "import",
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Import a metadata.json: what is new or differs from the last import of `source`.

    A record that differs is a new event that replaces fields and baselines; own votes stay. The
    full blocks of the log are sealed and the tables folded at the end. Raises `BadInput` for a
    file that is truncated or something else, before anything is written.
    """
    started, report = monotonic(), Report()
    for batch in _batches(pinshare.read(path)):
        _import_batch(store, batch, source, actor, report)
        if progress:
            progress(report.records)
    chain.seal(store.log, PARTITION, store.log.heads()[PARTITION].position)
    store.folder.catch_up()
    report.seconds = monotonic() - started
    return report


def _import_batch(
    store: Store, entries: Sequence[Entry], source: str, actor: str, report: Report
) -> None:
    """Import `entries` with one commit; those that another writer got in the way of, again."""
    for entry in entries:
        report.records += 1
        report.notes += [(entry.key, note) for note in entry.notes]
        if entry.refusal:
            report.refused.append((entry.key, entry.refusal))
    waiting = [(entry, entry.record) for entry in entries if entry.record]
    while waiting:
        commands = [_command(store, entry, record, source, actor) for entry, record in waiting]
        news = [(each, command) for each, command in zip(waiting, commands, strict=True) if command]
        report.unchanged += len(waiting) - len(news)
        outcomes = store.log.append([command for _, command in news])
        waiting = []
        for (each, command), outcome in zip(news, outcomes, strict=True):
            match outcome:
                case Appended(again=True):  # another import of the same file was faster
                    report.unchanged += 1
                case Appended():
                    report.imported += 1
                    report.events += sum(len(write.events) for write in command.writes)
                case Conflict():
                    waiting.append(each)
                case Refused():
                    raise outcome


def _command(
    store: Store, entry: Entry, record: file.Record, source: str, actor: str
) -> Command | None:
    """Return what imports `record`, None when its last import from `source` was the same."""
    stream = streams.name("file", entry.key)
    events = store.stream(stream)
    hashes = list(_imports(events, source))
    if hashes and hashes[-1] == entry.digest:
        return None
    state = file.after(*(event.value for event in events))  # type: ignore[arg-type]
    origin = Origin(source, entry.line, entry.digest)
    metadata = encode_metadata(Metadata(actor, occurred_at=record.last_updated, origin=origin))
    values = file.import_record(state, entry.key, record)
    encoded = tuple(store.codec.encode(value, metadata) for value in values)
    name = f"{source}\0{entry.key}\0{entry.digest}\0{len(hashes) + 1}"
    command_id = f"import-{sha256(name.encode()).hexdigest()}"
    return Command(command_id, (Write(stream, len(events), encoded),))


def _imports(events: Iterable[Event], source: str) -> Iterator[str]:
    """Yield the hashes of the records that were imported from `source`, in order."""
    for event in events:
        if isinstance(event.value, file.Imported):
            origin = decode_metadata(event.recorded.metadata).origin
            if origin and origin.source == source:
                yield origin.hash


def _batches(entries: Iterator[Entry]) -> Iterator[list[Entry]]:
    while batch := list(islice(entries, BATCH)):
        yield batch
