"""The eventsourcing library: its applications on refold, and what it does by itself."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle, islice
from time import perf_counter
from typing import Any, Final, Literal, cast
from uuid import UUID, uuid4

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import StoredEvent, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from refold.scripts.measure import workload
from refold.scripts.measure.row import Measured, Peer, paired
from refold.scripts.measure.site import Site

MODULE = "refold.infrastructure.eventsourcing"

READ: Final = 20_000
"""Events that the library reads in a round, of a log that is as long."""

PROJECTED: Final = 500
"""Events that the library projects in a round, a transaction each, of 10 000 or more."""

PAGE: Final = 1_000

NAMES: Final = Identifier("reference", "names")


class Named(Aggregate):
    """Something with a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    @event("Renamed")
    def rename(self, name: str) -> None:
        """Call it something else."""
        self.name = name


class Names(Application[UUID]):
    """Keeps names."""


def saves(site: Site, engine: Literal["postgresql", "sqlite"], threads: int) -> Measured:
    """Save so many aggregates in each round on both sides; what was saved is counted."""
    each = min(max(site.events // (400 * threads), 20), 2_000 // threads)
    with ExitStack() as closing:
        ours, theirs = _environments(site, engine, threads, closing)
        here, there = Names(ours), Names(theirs)
        closing.callback(here.close)
        closing.callback(there.close)

        def rate(application: Names) -> float:
            site.settle()
            started = perf_counter()
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(lambda _: _save(application, each), range(threads)))
            return threads * each / (perf_counter() - started)

        measured = paired(site, lambda: rate(here), lambda: rate(there), "saves")
        expected = threads * each * site.rounds
        for application in (here, there):
            saved = application.recorder.max_notification_id()
            if saved != expected:
                measured.differences.append(f"{saved} events were saved instead of {expected}")
    measured.figures |= {"threads": threads, "saves a round": threads * each}
    return measured


def _save(application: Names, number: int) -> None:
    for count in range(number):
        application.save(Named(f"name {count}"))


def _environments(
    site: Site, engine: str, threads: int, closing: ExitStack
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the environment on refold, and the one on the library's own recorders."""
    url = _place(site, engine, closing)
    return {"PERSISTENCE_MODULE": MODULE, "REFOLD_STORE": url}, _own(url, threads)


def _place(site: Site, engine: str, closing: ExitStack) -> str:
    """Return the address of an empty folder or database."""
    if engine == "postgresql":
        return closing.enter_context(site.database())
    return f"sqlite:///{site.new_folder()}"


def _own(url: str, threads: int = 1) -> dict[str, str]:
    """Return the environment on the library's own recorders at a place."""
    if url.startswith("sqlite:///"):
        file = f"{url.removeprefix('sqlite:///')}/reference.db"
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": file}
    named = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    return {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "POSTGRES_DBNAME": named["dbname"],
        "POSTGRES_HOST": named.get("host", ""),
        "POSTGRES_PORT": named.get("port", "5432"),
        "POSTGRES_USER": named.get("user", ""),
        "POSTGRES_PASSWORD": named.get("password", ""),
        "POSTGRES_SCHEMA": "reference",
        "POSTGRES_POOL_SIZE": str(max(threads, 5)),
    }


# --- by itself --------------------------------------------------------------------


@contextmanager
def _names(site: Site, engine: str, threads: int = 1) -> Iterator[Names]:
    """Give an application on the library's own recorders, in a place of its own."""
    with ExitStack() as closing:
        names = Names(_own(_place(site, engine, closing), threads))
        closing.callback(names.close)
        yield names


@contextmanager
def recorder(
    site: Site, engine: str, *, commits: int, batch: int = 1, threads: int = 1
) -> Iterator[Peer]:
    """Give the library's recorder: threads that each insert so many batches of events in a round.

    Their bytes are as many as those of refold's events, and ready before.
    """
    sample = workload.encoded(next(workload.files(seed=6)), 0)
    state, inserted = sample.data + sample.metadata, 0
    with _names(site, engine, threads) as names, ThreadPoolExecutor(threads) as pool:

        def insert(batches: list[list[StoredEvent]]) -> None:
            for each in batches:
                names.recorder.insert_events(each)

        def rate() -> float:
            nonlocal inserted
            given = [
                [[_stored(state) for _ in range(batch)] for _ in range(commits)]
                for _ in range(threads)
            ]
            inserted += threads * commits * batch
            site.settle()
            started = perf_counter()
            list(pool.map(insert, given))
            return threads * commits * batch / (perf_counter() - started)

        yield Peer(rate, lambda: _counted(names, inserted))


def _stored(state: bytes) -> StoredEvent:
    return StoredEvent(uuid4(), 1, "file.registered", state)


def _counted(names: Names, expected: int) -> list[str]:
    found = names.recorder.max_notification_id()
    return [] if found == expected else [f"it holds {found} events instead of {expected}"]


@contextmanager
def repository(site: Site, *, loads: int, events: int) -> Iterator[Peer]:
    """Give the library's repository: it loads aggregates of so many events."""
    last, wrong = f"name {events - 1}", list[str]()
    with _names(site, "postgresql") as names:
        ids = []
        for _ in range(20):
            named = Named("name 0")
            for number in range(1, events):
                named.rename(f"name {number}")
            names.save(named)
            ids.append(named.id)
        numbers = cycle(ids)

        def rate() -> float:
            site.settle()
            started = perf_counter()
            found: list[Named] = [names.repository.get(id) for id in islice(numbers, loads)]
            taken = perf_counter() - started
            wrong.extend(each.name for each in found if each.name != last)
            return loads / taken

        yield Peer(rate, lambda: [f"{len(wrong)} aggregates are not as saved"] if wrong else [])


@contextmanager
def notifications(site: Site) -> Iterator[Peer]:
    """Give the library's reading of a whole log, each event decoded by its mapper."""
    there = read = min(READ, site.events)
    with _names(site, "postgresql") as names:
        _fill(names, there)

        def rate() -> float:
            nonlocal read
            started, read, start = perf_counter(), 0, 1
            while page := names.recorder.select_notifications(start, PAGE):
                read += len([names.mapper.to_domain_event(each) for each in page])
                start = page[-1].id + 1
            return read / (perf_counter() - started)

        yield Peer(rate, lambda: [] if read == there else [f"it read {read} events of {there}"])


@contextmanager
def projection(site: Site) -> Iterator[Peer]:
    """Give the library's projection into a table of PostgreSQL, a transaction an event."""
    done, each = 0, min(PROJECTED, site.events // 20)
    with ExitStack() as closing:
        url = _place(site, "postgresql", closing)
        names = Names(_own(url))
        closing.callback(names.close)

        def rate() -> float:
            nonlocal done
            done += each
            _fill(names, each)
            site.settle()
            with ProjectionRunner(
                application_class=Names,
                projection_class=NamesProjection,
                view_class=NamesView,
                env=_own(url),
            ) as runner:
                runner.wait(done, timeout=60)
                [*times] = cast("NamesProjection", runner.projection).times
            return (len(times) - 1) / (times[-1] - times[0])

        def differences() -> list[str]:
            with site.connect(url) as server:
                [(kept,)] = server.execute("SELECT count(*) FROM reference.names").fetchall()
            return [] if kept == done else [f"it keeps {kept} rows instead of {done}"]

        yield Peer(rate, differences)


def _fill(names: Names, number: int) -> None:
    for first in range(0, number, PAGE):
        made = [Named(f"name {each}") for each in range(first, min(first + PAGE, number))]
        events = [
            names.mapper.to_stored_event(new) for each in made for new in each.collect_events()
        ]
        names.recorder.insert_events(events)


class NamesView(PostgresTrackingRecorder):
    """A table of names."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.sql_create_statements.append(
            SQL("CREATE TABLE IF NOT EXISTS {} (id uuid PRIMARY KEY, name text)").format(NAMES)
        )

    def insert(self, id: UUID, name: str, tracking: Tracking) -> None:
        """Keep a name, and how far the log has been processed."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("INSERT INTO reference.names VALUES (%s, %s)", (id, name), prepare=True)


class NamesProjection(Projection[NamesView]):
    """Keeps names in a table, and when each came."""

    def __init__(self, view: NamesView) -> None:
        super().__init__(view)
        self.times: list[float] = []

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """Insert a row."""
        self.view.insert(domain_event.originator_id, domain_event.name, tracking)
        self.times.append(perf_counter())
