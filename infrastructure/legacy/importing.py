"""Brings records of a legacy store into the log: idempotent, resumable, each one accounted for."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import dropwhile
from time import monotonic
from typing import Any, Final, NamedTuple

from refold.domain import user
from refold.domain.errors import (
    Claimed,
    Conflict,
    Filling,
    KeyErased,
    Moved,
    NoVaultKey,
    Refused,
    WrongVaultKey,
)
from refold.domain.ports import Appended, Command, Event, Outcome
from refold.domain.texts import check_word
from refold.infrastructure import chain
from refold.infrastructure.address import Postgres
from refold.infrastructure.codec import Metadata, Origin, decode_metadata, encode_metadata
from refold.infrastructure.commands import ATTEMPTS, blinded, carry_out, prepared
from refold.infrastructure.folding.building import CatchUp
from refold.infrastructure.garbage import without_collection
from refold.infrastructure.patience import patiently
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.requests.request import Request, Situation
from refold.infrastructure.store import Store

BATCH: Final = 5_000
"""Records that go in with one commit."""
STREAMS: Final = 50
"""Streams that are read at once: some have long histories."""
MOST_BYTES: Final = 16 << 20
"""Bytes of big records in a batch; two of those are in memory at once."""

LOOK_SECONDS: Final = 0.2
"""How often it is looked how far another process has folded."""


class Record(NamedTuple):
    """One record of a legacy store: where it stands, and the request that takes it over.

    `digest` is the SHA-256 of what it says: a record with the digest of its last import is
    unchanged. `occurred_at` is kept as the source wrote it; `notes` are sentences for the report.
    """

    key: str
    file: str
    line: int
    digest: str
    occurred_at: str | None
    request: Request
    notes: tuple[str, ...] = ()
    part: str = ""
    """Which of several records of one stream this is."""
    size: int = 0
    """How many bytes it holds, where that may be many."""


class Refusal(NamedTuple):
    """A record that is not taken, and why; `line` is 1-based, or the row's number."""

    key: str
    file: str
    line: int
    reason: str


@dataclass(slots=True)
class Report:
    """What became of each record: records = imported + unchanged + refused.

    `notes` are (key, sentence); `left_out` counts, by table, what is not imported yet.
    """

    records: int = 0
    imported: int = 0
    unchanged: int = 0
    refused: list[Refusal] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    events: int = 0
    seconds: float = 0.0


News = list[tuple[Record, Command]]


class Importer:
    """Imports records of one `source`, in batches of one commit each.

    While a server appends one batch the next one is decided, by what is in the log then: a record
    that depends on the batch before it is decided again. Where the store has `workers`, one of them
    folds meanwhile what is in the log.
    """

    def __init__(
        self,
        store: Store,
        source: str,
        *,
        actor: str = "import",
        progress: Progress = quietly,
    ) -> None:
        """Raise `IllFormedText` for an actor that no command could have."""
        check_word("actor", actor)
        self._store, self._source, self._actor = store, source, actor
        self._progress = progress
        self._started = monotonic()
        self._late: list[tuple[Record, Claimed]] = []
        self._folding: Future[None] | None = None
        place = store.address  # in this process, one would only get in the other's way
        self._is_served = isinstance(place, Postgres) and place.connecting.max_size > 1
        self.report = Report()

    def take(self, records: Iterable[Record | Refusal]) -> None:
        """Import each record that is new, or that differs from its last import."""
        with without_collection(), ThreadPoolExecutor(1) as appending:
            news: News = []
            outcomes = appending.submit(self._append, news)
            for batch, is_full in _batches(records):
                if is_full:  # more will come
                    self._fold_beside()
                decided = self._decide_batch(batch)
                self._take(self._settle(news, outcomes.result()))
                news, outcomes = decided, appending.submit(self._append, decided)
                if not self._is_served:
                    outcomes.result()
            self._take(self._settle(news, outcomes.result()))
            self._take_late()

    def finish(self) -> Report:
        """Seal the full blocks of the log and fold the tables; return what became of all."""
        log = self._store.log
        for head in log.heads():
            chain.seal(log, head.partition, head.position)
        if self._folding:
            self._wait_for(self._folding)
        self._store.folder.catch_up(progress=self._progress)
        self.report.seconds = monotonic() - self._started
        return self.report

    def _decide_batch(self, batch: Sequence[Record | Refusal]) -> News:
        for each in batch:
            if isinstance(each, Refusal):
                self.report.refused.append(each)
            else:
                self.report.notes += [(each.key, note) for note in each.notes]
        self.report.records += len(batch)
        news = self._decide([each for each in batch if isinstance(each, Record)])
        self._progress("import", self.report.records, None)
        return news

    def _decide(self, waiting: list[Record]) -> News:
        """Return what is to be appended; records that are refused or unchanged are reported."""
        news: News = []
        for attempt in range(ATTEMPTS):
            if not waiting:
                break
            again: list[Record] = []
            for record, stream, events in self._found(waiting):
                try:
                    with self._refusing(record):
                        command = self._command(record, stream, events)
                        if command:
                            news.append((record, command))
                        else:
                            self.report.unchanged += 1
                except KeyErased as erased:  # since the events were read, or without an event
                    if attempt == ATTEMPTS - 1:
                        self._refuse(record, erased)
                    again.append(record)
            waiting = again
        return news

    def _append(self, news: News) -> Sequence[Outcome]:
        return self._store.log.append([command for _, command in news])

    def _fold_beside(self) -> None:
        """Let another process fold what is in the log, unless it is at it or there is none."""
        if self._store.workers and (self._folding is None or self._folding.done()):
            self._folding = self._store.workers.begin(CatchUp())

    def _wait_for(self, folding: Future[None]) -> None:
        """Tell how far the other process is until it is done; what it raised is met again here."""
        head = self._store.advance.head().total
        while not folding.done():
            wait([folding], LOOK_SECONDS)
            self._progress("fold", patiently(self._folded), head)

    def _folded(self) -> int:
        """Return up to where the live tables are folded that go on."""
        with self._store.tables.reading() as connection:
            current = self._store.tables.current(connection).values()
            standing = self._store.advance.standing(connection, current)
        return max((each.positions.total for each in standing), default=0)

    def _settle(self, news: News, outcomes: Sequence[Outcome]) -> list[Record]:
        """Report what became of `news`; return those that another got in the way of."""
        again: list[Record] = []
        for (record, command), outcome in zip(news, outcomes, strict=True):
            match outcome:
                case Appended(again=True):  # another import of the same was faster
                    self.report.unchanged += 1
                case Appended():
                    self.report.imported += 1
                    self.report.events += sum(len(write.events) for write in command.writes)
                case Conflict():
                    again.append(record)
                case Claimed():
                    self._late.append((record, outcome))
                case Moved() | Filling():
                    raise outcome
                case Refused():
                    self._refuse(record, outcome)
        return again

    def _take(self, records: list[Record]) -> None:
        """Import with one commit, at once; those that another got in the way of, again."""
        while records:
            news = self._decide(records)
            records = self._settle(news, self._append(news))

    def _found(self, records: Sequence[Record]) -> Iterator[tuple[Record, str, list[Event]]]:
        """Yield records with the streams that they write to, and the events of those so far."""
        for first in range(0, len(records), STREAMS):
            found = list[tuple[Record, tuple[str, str] | None, str]]()
            for record in records[first : first + STREAMS]:
                with self._refusing(record):
                    claim = record.request.found_by()
                    claim = blinded(self._store, claim) if claim else None
                    found.append((record, claim, record.request.stream()))
            holders = self._store.log.holders({claim for _, claim, _ in found if claim})
            placed = [
                (record, holders.get(claim, own) if claim else own) for record, claim, own in found
            ]
            events = defaultdict[str, list[Event]](list)
            kept = self._store.log.streams({stream for _, stream in placed})
            for event in self._store.codec.decode_all(kept):
                events[event.recorded.stream].append(event)
            yield from ((record, stream, events[stream]) for record, stream in placed)

    @contextmanager
    def _refusing(self, record: Record) -> Iterator[None]:
        """Report `record` as refused when it is, but not for what is wrong with the store."""
        try:
            yield
        except (NoVaultKey, WrongVaultKey, KeyErased):
            raise
        except Refused as refusal:
            self._refuse(record, refusal)

    def _take_late(self) -> None:
        """Import those whose name, key or url its holder let go meanwhile; refuse the others."""
        while self._late:
            late, self._late = self._late, []
            self._take([record for record, _ in late])
            if len(self._late) == len(late):
                for record, outcome in late:
                    self._refuse(record, outcome)
                self._late = []

    def _refuse(self, record: Record, refusal: Refused) -> None:
        self.report.refused.append(Refusal(record.key, record.file, record.line, str(refusal)))

    def _command(self, record: Record, stream: str, events: Sequence[Event]) -> Command | None:
        """Return what imports `record`, None when its last import was the same."""
        source = f"{self._source} {record.part}" if record.part else self._source
        imports = list(_imports(events, source))
        for version, digest in imports[-1:]:
            if digest == record.digest and not (record.part and _is_back(events[version:])):
                return None
        if _is_erased(events):
            raise Refused("this user was erased here: to import them again, register them first")
        name = f"{self._source}\0{record.key}\0{record.digest}\0{len(imports) + 1}"
        command_id = f"import-{sha256(name.encode(errors='surrogatepass')).hexdigest()}"
        first: Any = partial(carry_out, self._store, actor=self._actor)
        values = record.request.decide(Situation(self._store, events, command_id, first))
        if not values:
            return None
        origin = Origin(source, record.line, record.digest)
        metadata = encode_metadata(Metadata(self._actor, record.occurred_at, origin=origin))
        return prepared(self._store, record.request, stream, events, values, command_id, metadata)


def _batches(
    records: Iterable[Record | Refusal],
) -> Iterator[tuple[list[Record | Refusal], bool]]:
    """Yield batches, and whether each is full, as all but the last one are."""
    batch: list[Record | Refusal] = []
    size = 0
    for each in records:
        batch.append(each)
        size += each.size if isinstance(each, Record) else 0
        if len(batch) >= BATCH or size >= MOST_BYTES:
            yield batch, True
            batch, size = [], 0
    if batch:
        yield batch, False


def _imports(events: Sequence[Event], source: str) -> Iterator[tuple[int, str]]:
    """Yield version and hash of each record that was imported from `source`, in order."""
    for event in events:
        if b'"import"' in event.recorded.metadata:
            origin = decode_metadata(event.recorded.metadata).origin
            if origin and origin.source == source and event.recorded.command_no == 0:
                yield event.recorded.version, origin.hash


def _is_back(events: Iterable[Event]) -> bool:
    """Tell whether a user went and was made known again, without what was beside them."""
    values = (event.value for event in events)
    gone = dropwhile(lambda value: not isinstance(value, user.Deleted | user.Erased), values)
    return any(isinstance(value, user.Registered | user.Imported) for value in gone)


def _is_erased(events: Iterable[Event]) -> bool:
    """Tell whether the last that a stream says of a user is that they were erased."""
    said = [event.value for event in events if not isinstance(event.value, user.ContentsRemoved)]
    return isinstance(said[-1], user.Erased) if said else False
