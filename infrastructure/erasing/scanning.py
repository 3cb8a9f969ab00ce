"""Looks for what is left of a person: in the log, the tables, search indexes, archives, files."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from refold.domain import streams
from refold.domain.ports import Recorded
from refold.infrastructure import chain
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import verifying
from refold.infrastructure.codec import parse
from refold.infrastructure.erasing import seeking
from refold.infrastructure.erasing.certificate import Finding, Naming
from refold.infrastructure.erasing.seeking import (
    IN_EVIDENCE,
    IN_THE_CLEAR,
    LONG,
    NOWHERE,
    Seeker,
    Value,
)
from refold.infrastructure.folding.generations import Generation
from refold.infrastructure.folding.rows import search_name
from refold.infrastructure.progress import Progress
from refold.infrastructure.sqlite.compacting import pages
from refold.infrastructure.store import Store
from refold.projections import devices, public_keys, push_aliases, pushes, users
from refold.projections.query import parse as query

OF_THE_LOG: Final = frozenset(
    {"events", "claims", "keys", "heads", "seals", "store", "alembic_version"}
)
"""Tables that may stand beside query tables, and are looked into as what they are."""

REGISTRY: Final = frozenset({"projections", "checkpoints", "plans"})
"""Tables that hold names of tables, and no row of anybody."""

EVIDENCE: Final = (pushes, push_aliases)
"""Tables that are kept as they are, whoever they name."""

HITS: Final = 100
"""Files that are told of which a search for one text finds."""

ERASED: Final = "(erased)"
"""What stands for a part of a key that holds what was erased."""

ROWS_AT_ONCE: Final = 1_000


# --- values -----------------------------------------------------------------------------


def shared(store: Store, values: Collection[Value], own: str) -> set[Value]:
    """Return those of `values` that another user has, too; `own` is the key of who is erased.

    They tell nobody apart: where they stand there is no leftover.
    """
    wanted, theirs = set(values), set[Value]()
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        for projection, read in _OF_USERS.items():
            generation = current.get(projection)
            if generation is None or not generation.is_of_this_version:
                continue
            table = generation.table
            found = sa.select(table).where(table.primary_key.columns[0] != own)
            rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(found)
            for row in rows.mappings():
                theirs.update(set(read(row)).intersection(wanted))
    return theirs


_OF_USERS: Final[Mapping[str, Callable[[Mapping[Any, Any]], Iterable[Value]]]] = {
    users.NAME: lambda row: seeking.of_profile(parse(row["profile"].encode())),
    public_keys.NAME: lambda row: seeking.of_key(parse(row["record"].encode())),
    devices.NAME: lambda row: seeking.of_device(row["device_id"], dict(row)),
}
"""Tables of what users have, and what values a row holds."""


# --- the log ----------------------------------------------------------------------------


class Events:
    """Goes over the events of a log or an archive, and sorts those that name the person.

    `seen` are all values that stand in them, `pushes` the streams of pushes that are about the
    person, `named` events that name them in the clear, and `found` what should be in no event.
    """

    def __init__(self, seeker: Seeker, place: str) -> None:
        self._seeker, self._place = seeker, place
        self.count = 0
        self.seen = set[Value]()
        self.pushes: dict[str, None] = {}
        self.named: dict[str, Naming] = {}
        self.found: list[Finding] = []

    def over(self, page: Sequence[Recorded]) -> None:
        """Go over the next events."""
        self.count += len(page)
        for record in page:
            texts = _texts(record)
            values = self._seeker.find(texts.values())
            if values:
                self.seen |= values
                self._sort(record, texts, values)

    def _sort(self, record: Recorded, texts: dict[str, str], values: Collection[Value]) -> None:
        is_push = streams.kind(record.stream) == "push"
        public = {value.what for value in values if value.what in IN_THE_CLEAR}
        if is_push and any(value.what in IN_EVIDENCE for value in values):
            self.pushes[record.stream] = None
        elif public and not is_push:
            naming = self.named.setdefault(record.type, Naming(record.position))
            naming.events += 1
            naming.what |= public
        left = {
            value
            for value in values
            if (value.what in NOWHERE if is_push else value.what not in IN_THE_CLEAR)
        }
        for column, text in texts.items() if left else ():
            for what in sorted({value.what for value in self._seeker.find([text]) & left}):
                self.found.append(Finding(what, self._place, column, (str(record.position),)))


def _texts(record: Recorded) -> dict[str, str]:
    return {
        "data": record.data.decode(errors="replace"),
        "metadata": record.metadata.decode(errors="replace"),
        "command_id": record.command_id,
        "stream": record.stream,
    }


def log(store: Store, seeker: Seeker, progress: Progress) -> Events:
    """Look into all events, claims and keys of a store."""
    events = Events(seeker, "events")
    until = store.advance.head()
    for partition, end in enumerate(until.each):
        for page in chain.pages(store.log, partition, 0, end):
            events.over(page)
            progress("scan events", events.count, until.total)
    for claim in store.log.claims().claims:
        for value in seeker.find([claim.value]):
            events.seen.add(value)
            events.found.append(Finding(value.what, "claims", "value", (claim.kind, ERASED)))
    return events


def keys(store: Store, subjects: Collection[str]) -> Iterator[Finding]:
    """Yield those of the keys of `subjects` that are not destroyed."""
    for key in store.log.keys(sorted(subjects)):
        if key.wrapped is not None:
            yield Finding("key", "keys", "key", (key.subject,))


def archive(
    place: Archive, seeker: Seeker, subjects: Collection[str], progress: Progress
) -> tuple[int, list[Finding]]:
    """Return how many events an archive has, and what of a person is left in it.

    Whoever has the keys in an archive can read what is sealed in it. Raises `NoSuchArchive`,
    `NoArchive` and `Unavailable`.
    """
    events = Events(seeker, place.public)
    report = verifying.verify(place, progress, events.over)
    found = events.found
    found += (
        Finding("key", place.public, "key", (key.subject,))
        for key in report.keys or ()
        if key.subject in subjects and key.wrapped is not None
    )
    if report.bad:
        block = f"{report.bad.first} to {report.bad.last}"
        found.append(Finding("not readable", place.public, "block", (block,)))
    return events.count, found


# --- tables -----------------------------------------------------------------------------


def rows(store: Store, seeker: Seeker) -> "Rows":
    """Look into every text of every row. Raises `Unavailable`."""
    found = Rows(store, seeker)
    found.scan()
    return found


class Rows:
    """Goes over all tables that are beside the log: every generation, and tables of the past."""

    def __init__(self, store: Store, seeker: Seeker) -> None:
        self._store, self._seeker = store, seeker
        self.tables = self.count = 0
        self.seen = set[Value]()
        self.found: list[Finding] = []
        self.not_asked: list[str] = []

    def scan(self) -> None:
        """Look into every text of every row, and ask the searches.

        A search of another version wrote words in a way of its own: it is listed as `not_asked`.
        """
        with self._store.tables.reading() as connection:
            generations = self._store.tables.generations(connection)
            schema = generations[0].table.schema if generations else None
            inspector = sa.inspect(connection)
            of_search = tuple(search_name(each.table) for each in generations)
            evidence = {each.table.name for each in generations if each.projection in EVIDENCE}
            for name in sorted(inspector.get_table_names(schema)):
                if name not in OF_THE_LOG | REGISTRY and not name.startswith(of_search):
                    self.tables += 1
                    self._table(connection, inspector, schema, name, kept=name in evidence)
            for generation in generations:
                if generation.projection.SEARCH and generation.is_of_this_version:
                    self._search(connection, generation)
                elif generation.projection.SEARCH:
                    self.not_asked.append(
                        f"the search of {generation.table.name}, which version"
                        f" {generation.version} of its projection filled"
                    )

    def _table(
        self,
        connection: sa.Connection,
        inspector: sa.Inspector,
        schema: str | None,
        name: str,
        *,
        kept: bool,
    ) -> None:
        key = inspector.get_pk_constraint(name, schema)["constrained_columns"]
        columns = [
            each["name"]
            for each in inspector.get_columns(name, schema)
            if isinstance(each["type"], sa.String)
        ]
        selected = list(dict.fromkeys([*key, *columns]))
        table = sa.table(name, *map(sa.column, selected), schema=schema)
        rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(sa.select(table))
        for row in rows.mappings():
            self.count += 1
            texts = {column: row[column] for column in columns if row[column] is not None}
            values = self._seeker.find(texts.values())
            if not values:
                continue
            self.seen |= values
            if not kept:
                self._keep(name, texts, [str(row[column]) for column in key])

    def _keep(self, name: str, texts: dict[str, str], key: Sequence[str]) -> None:
        shown = tuple(ERASED if self._seeker.find([part]) else part for part in key)
        for column, text in texts.items():
            for what in sorted({value.what for value in self._seeker.find([text])}):
                self.found.append(Finding(what, name, column, shown))

    def _search(self, connection: sa.Connection, generation: Generation) -> None:
        """Ask the search for each text, as a phrase."""
        named = {(each.table, each.key) for each in self.found}
        for value in self._seeker.values:
            if len(value.text) < LONG or value.what == seeking.SESSION:
                continue
            phrase = query('"' + value.text.replace('"', " ") + '"')
            if not phrase.alternatives:
                continue
            hits = self._store.tables.rows.search(connection, generation, phrase, HITS, 0)
            for key, _ in hits.rows:
                self.seen.add(value)
                if (generation.table.name, (key,)) not in named:
                    self.found.append(Finding(value.what, generation.table.name, "search", (key,)))


# --- files ------------------------------------------------------------------------------


def file(
    path: Path, seeker: Seeker, wrapped: Iterable[bytes], seen: Collection[Value]
) -> tuple[int, list[Finding]]:
    """Return how many bytes a file has, and what stands in it outside of rows.

    `seen` are values that rows of it hold, `wrapped` the keys that were destroyed.
    """
    with pages(path) as data:
        left = {value.what for value in seeker.find_in_bytes(data).difference(seen)}
        if any(data.find(key) >= 0 for key in wrapped):
            left.add("key")
        return len(data), [Finding(what, path.name, OUTSIDE, ()) for what in sorted(left)]


OUTSIDE: Final = "bytes outside of rows"
