"""How fast many processes append to one log on PostgreSQL, each an event a commit."""

from functools import partial
from itertools import islice
from multiprocessing.connection import Connection
from time import perf_counter
from typing import Final

from refold.infrastructure.open import open_store
from refold.scripts.measure import forks, groups, workload
from refold.scripts.measure.row import Goal, Measured, Row
from refold.scripts.measure.site import Site

PROCESSES: Final = 8


def by_processes(site: Site, partitions: int = 1) -> Measured:
    """Append from 8 processes to so many partitions, against 8 sessions of pgbench.

    Each process has the store open and appends by itself, a new file a commit: they share nothing
    but the heads of the log. The reference has no head, and its positions no order.
    """
    each = groups.share(site, PROCESSES)
    with (
        site.database() as url,
        open_store(url, create=True, partitions=partitions) as store,
        forks.started(_append, [(url, 100 + each) for each in range(PROCESSES)]) as processes,
    ):

        def refold() -> float:
            forks.ask(processes, each)
            site.settle()
            times: list[tuple[float, float]] = forks.ask(processes, None)
            first, last = min(start for start, _ in times), max(end for _, end in times)
            return each * PROCESSES / (last - first)

        measured = groups.against_pgbench(site, url, refold, each * PROCESSES, {})
        measured.figures["processes"] = PROCESSES
        return groups.checked(measured, store, each * PROCESSES * site.rounds)


def _append(url: str, seed: int, orders: Connection) -> None:
    """Make ready to append so many files, append them when told to, and answer when that was."""
    new = workload.files(seed)
    with open_store(url) as store:
        while True:
            try:
                given = list(islice(new, orders.recv()))
                orders.send(len(given))
                orders.recv()
            except EOFError:
                return
            started = perf_counter()  # the same clock in all processes
            for number, each in enumerate(given):
                workload.check(store.log.append([workload.command(each, number)]))
            orders.send((started, perf_counter()))


ROWS: Final = (
    Row(
        "append-8-processes",
        "PostgreSQL: append from 8 processes, each an event a commit, against pgbench -c8.",
        Goal("at least", 0.4),
        by_processes,
    ),
    Row(
        "append-8-processes-8-partitions",
        "PostgreSQL: the same on a log of 8 partitions, against pgbench -c8.",
        Goal("at least", 0.65),
        partial(by_processes, partitions=8),
    ),
)
