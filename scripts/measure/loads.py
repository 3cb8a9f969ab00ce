"""How fast one aggregate is read: its stream from the log, decoded and folded."""

from itertools import cycle, islice
from statistics import median
from time import perf_counter, time_ns
from typing import Final

from refold.domain import file, streams, times
from refold.domain.ports import Command, Write
from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.files import state
from refold.infrastructure.services.sessions import show_session
from refold.infrastructure.store import Store
from refold.scripts.measure import peers, pgbench, workload
from refold.scripts.measure.row import Goal, Measured, Row, paired
from refold.scripts.measure.site import Site

STREAMS: Final = 100
EVENTS_A_STREAM: Final = 100
LAST_NAME: Final = f"name {EVENTS_A_STREAM - 1}"
SESSIONS: Final = 1_000


def stream(site: Site) -> Measured:
    """Load and fold a stream as commands do, against pgbench's prepared SELECT of such a stream."""
    loads = 300 if site.quick else 2_000
    with (
        peers.eventsourcing(
            site,
            lambda library: library.repository(site, loads=loads // 10, events=EVENTS_A_STREAM),
        ) as others,
        site.database() as url,
        open_store(url, create=True) as store,
    ):
        _fill(store)
        with site.connect(url) as server:
            server.execute("VACUUM ANALYZE refold.events")
        numbers = cycle(range(STREAMS))

        def refold() -> float:
            started = perf_counter()
            for number in islice(numbers, loads):
                state(store.history(streams.name("file", f"bench{number}")))
            return loads / (perf_counter() - started)

        measured = paired(
            site,
            refold,
            lambda: pgbench.rate(site, url, "load_100", loads, streams=STREAMS),
            "streams",
            others,
        )
        [*events] = store.history("file-bench0")
    if len(events) != EVENTS_A_STREAM:
        measured.differences.append(f"a stream has {len(events)} events")
    if state(events).name != LAST_NAME:
        measured.differences.append(f"the file is called {state(events).name!r}")
    return measured


def stream_on_sqlite(site: Site) -> Measured:
    """Load and fold a stream of 100 events from a SQLite store: the median of all loads."""
    loads = 300 if site.quick else 2_000
    measured = Measured()
    with open_store(f"sqlite:///{site.folder / 'streams.db'}", create=True) as store:
        _fill(store)
        numbers = cycle(range(STREAMS))
        for _ in range(site.rounds):
            taken = []
            for number in islice(numbers, loads):
                name = streams.name("file", f"bench{number}")
                started = perf_counter()
                found = state(store.history(name))
                taken.append(perf_counter() - started)
                if found.name != LAST_NAME:
                    measured.differences.append(f"the file is called {found.name!r}")
            measured.values.append(1_000 * median(taken))
    return measured


def session(site: Site) -> Measured:
    """Get a session by its id, one of a thousand, opened: from a SQLite store."""
    measured = Measured(figures={"sessions": SESSIONS})
    expires_at = times.text(time_ns() // 1_000 + 3_600_000_000)
    with open_store(f"sqlite:///{site.folder / 'sessions.db'}", create=True) as store:
        for number in range(SESSIONS):
            fields = {"sid": f"sid-{number}", "body": "x" * 400, "expires_at": expires_at}
            run(store, "session.set", fields, command_id=f"{number}", actor="web")
        for _ in range(site.rounds):
            taken = []
            for number in range(SESSIONS):
                started = perf_counter()
                found = show_session(store, f"sid-{number}")
                taken.append(perf_counter() - started)
                if found is None or len(found.body) != 400:
                    measured.differences.append(f"session {number} is not as it was set")
            measured.values.append(1_000 * median(taken))
    return measured


def _fill(store: Store) -> None:
    for number in range(STREAMS):
        name = streams.name("file", f"bench{number}")
        values: list[object] = [file.Registered(f"bench{number}", "cid", "name", "pdf")]
        values += [file.Changed(name=f"name {n}") for n in range(1, EVENTS_A_STREAM)]
        events = tuple(workload.encoded(value, n) for n, value in enumerate(values))
        store.log.append([Command(f"{number}", (Write(name, 0, events),))])


ROWS: Final = (
    Row(
        "load-100",
        "PostgreSQL: load and fold a stream of 100 events, against SELECT by pgbench.",
        Goal("at least", 0.55),
        stream,
    ),
    Row(
        "load-100-sqlite",
        "SQLite: load and fold a stream of 100 events.",
        Goal("at most", 0.15, "ms"),
        stream_on_sqlite,
    ),
    Row(
        "session-get",
        "SQLite: get a session by its id, opened.",
        Goal("at most", 1, "ms"),
        session,
    ),
)
