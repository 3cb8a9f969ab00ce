"""How fast a log goes from one engine to the other, read back and proven."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import gettempdir
from time import perf_counter
from typing import Final, cast
from uuid import uuid4

from refold.domain.positions import Positions
from refold.infrastructure.address import Sqlite
from refold.infrastructure.moving import copying
from refold.infrastructure.moving.carrying import Carrier
from refold.infrastructure.open import open_store
from refold.infrastructure.sqlite.connection import immediate
from refold.infrastructure.store import Store
from refold.scripts.measure import raw, tools
from refold.scripts.measure.row import Goal, Measured, Row, paired, seconds
from refold.scripts.measure.site import Connection, Site


def to_postgres(site: Site) -> Measured:
    """Copy a SQLite store to an empty PostgreSQL one, against COPY FROM a file on the server.

    The ratio is that of the log: carried over, read back, both chains walked, as a move does before
    it seals its source. The whole copy, with the tables folded there and all of them compared, is a
    figure beside it. The reference loads a file in binary format into a table with the same three
    indexes, and verifies nothing.
    """
    copies, copied = _Copies(site.events), set[object]()
    with (
        open_store(site.sqlite) as source,
        site.connect(site.postgres) as server,
        _file_of_events(server) as file,
    ):

        def refold() -> float:
            with site.database() as url, open_store(url, create=True) as target:
                site.settle()
                rate = copies.rate(source, target)
                with site.connect(url) as there:
                    copied.add(_sum(there, "refold"))
                return rate

        def reference() -> float:
            server.execute("DROP TABLE IF EXISTS reference.events")
            server.execute("CREATE TABLE reference.events (LIKE refold.events INCLUDING ALL)")
            site.settle()
            load = f"COPY reference.events FROM '{file}' (FORMAT binary)".encode()
            return site.events / seconds(lambda: server.execute(load))

        others = tools.to_postgres(site, cast("Sqlite", source.address).path)
        measured = paired(site, refold, reference, "events", others)
        if copied != {_sum(server, "reference")}:
            copies.differences.append("the reference holds other events than the copy")
        server.execute("DROP TABLE reference.events")
    return copies.told(measured)


def to_sqlite(site: Site) -> Measured:
    """Copy a PostgreSQL store to a new SQLite one, against INSERT … SELECT from an attached file.

    The reference has the events in another SQLite file, inserts them into a table, and makes the
    same indexes behind them, as refold does; else as above.
    """
    copies = _Copies(site.events)
    path = site.folder / "copied.db"
    reference_path = site.folder / "reference.db"
    with open_store(site.postgres) as source, open_store(site.sqlite) as same:
        log = cast("Sqlite", same.address).path

        def refold() -> float:
            raw.remove(path)
            with open_store(f"sqlite:///{path}", create=True) as target:
                site.settle()
                return copies.rate(source, target)

        def reference() -> float:
            raw.remove(reference_path)
            with raw.opened(reference_path, log=log) as server:
                raw.declare(server, "log", "events")
                site.settle()
                return site.events / seconds(lambda: _insert(server))

        others = tools.to_sqlite(site)
        measured = paired(site, refold, reference, "events", others)
    if not raw.is_same(path, reference_path, "events"):
        copies.differences.append("the reference holds other events than the copy")
    raw.remove(path)
    raw.remove(reference_path)
    return copies.told(measured)


@dataclass(slots=True)
class _Copies:
    """What the copies of a log of so many events came to."""

    events: int
    seconds: float | None = None
    """What the first one took as a whole."""
    differences: list[str] = field(default_factory=list)

    def rate(self, source: Store, target: Store) -> float:
        """Copy a store, and return how many events a second its log took.

        Only the first copy is a whole one: the tables would take most of the time.
        """
        watch = _Stopwatch()
        if self.seconds is None:
            certificate = copying.copy(source, target, watch)
            self.seconds = certificate.seconds
            self._note(certificate.differences, certificate.positions.total)
            return self.events / (watch.started["fold"] - watch.started["copy"])
        carrier = Carrier(source, target)

        def carry() -> None:
            carrier.carry(Positions((self.events,)))
            target.log.create_indexes()

        taken = seconds(carry)
        self._note(carrier.differences, carrier.positions.total)
        return self.events / taken

    def _note(self, differences: Sequence[str], position: int) -> None:
        self.differences += differences
        if position != self.events:
            self.differences.append(f"the copy ends at position {position}")

    def told(self, measured: Measured) -> Measured:
        """Add what was found out."""
        measured.differences += dict.fromkeys(self.differences)
        measured.figures["events"] = self.events
        if self.seconds:
            measured.figures["whole copy, seconds"] = round(self.seconds, 2)
            measured.figures["whole copy, events a second"] = round(self.events / self.seconds)
        return measured


class _Stopwatch:
    """Notes when each part of a copy was first heard of."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}

    def __call__(self, what: str, *_: int | None) -> None:
        self.started.setdefault(what, perf_counter())


@contextmanager
def _file_of_events(server: Connection) -> Iterator[Path]:
    """Have the server write the log to a file of its own.

    A server elsewhere, or of another user, keeps an empty file.
    """
    file = Path(gettempdir()) / f"refold-bench-{uuid4().hex}"
    server.execute(f"COPY refold.events TO '{file}' (FORMAT binary)".encode())
    try:
        yield file
    finally:
        server.execute(f"COPY (SELECT) TO '{file}'".encode())
        with suppress(OSError):
            file.unlink()


def _sum(server: Connection, schema: str) -> object:
    query = f"SELECT count(*), sum(hashtextextended(e::text, 0)) FROM {schema}.events e"
    return server.execute(query.encode()).fetchone()


def _insert(server: sqlite3.Connection) -> None:
    with immediate(server):
        raw.copy(server, "log", "events")
        raw.index(server, "log", "events")


ROWS: Final = (
    Row(
        "copy",
        "SQLite to PostgreSQL: carry the log over and read it back, against COPY FROM a file.",
        Goal("at least", 0.75),
        to_postgres,
    ),
    Row(
        "copy-sqlite",
        "PostgreSQL to SQLite: the same, against INSERT … SELECT from an attached file.",
        Goal("at least", 0.45),
        to_sqlite,
    ),
)
