"""How long one caller among many waits: for its commit, and for its own write in the tables."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median, quantiles
from time import perf_counter
from typing import Final

from refold.domain import file
from refold.domain.ports import Appended, Command, Outcome
from refold.domain.positions import Positions
from refold.infrastructure.appending.group_commit import GroupCommit, PartitionedCommit
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.projections import files
from refold.scripts.measure import groups, workload
from refold.scripts.measure.groups import Work
from refold.scripts.measure.row import Goal, Measured, Row
from refold.scripts.measure.site import Site

PERCENTILES: Final = (50, 95, 99)


def of_appends(site: Site, callers: int, work: Work) -> Measured:
    """Append from many callers as fast as they can, each an event a commit."""
    each = groups.share(site, callers)
    new = workload.files(seed=10)
    measured = Measured(figures={"callers": callers})
    waits: list[list[float]] = []
    with site.database() as url, open_store(url, create=True) as store:
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            given = groups.shares(new, callers, each)
            site.settle()
            timed = _Timed(store.commits)
            work(timed, given)
            waits.append(timed.waits)
        groups.checked(measured, store, each * callers * site.rounds)
    return _told(measured, waits)


def of_own_writes(site: Site) -> Measured:
    """Append from 8 threads that each wait until their own event is in the tables, indexes too.

    Only the wait for the tables counts. Nobody else folds: who finds them behind does it.
    """
    each = max(groups.share(site, groups.THREADS) // 10, 5)
    new = workload.files(seed=11)
    measured, waits = Measured(figures={"callers": groups.THREADS}), list[list[float]]()
    with (
        site.database() as url,
        open_store(url, create=True) as store,
        ThreadPoolExecutor(groups.THREADS) as pool,
    ):
        store.folder.catch_up()
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            given = groups.shares(new, groups.THREADS, each)
            site.settle()
            waited = pool.map(partial(_write_and_wait, store), given)
            waits.append([wait for waits in waited for wait in waits])
        rows = store.folder.digest(files)[1].rows
        groups.checked(measured, store, each * groups.THREADS * site.rounds)
    if rows != each * groups.THREADS * site.rounds:
        measured.differences.append(f"{rows} files are in the table")
    return _told(measured, waits)


def _write_and_wait(store: Store, given: Sequence[file.Registered]) -> list[float]:
    waits = []
    for number, each in enumerate(given):
        [outcome] = store.commits.append([workload.command(each, number)])
        if not isinstance(outcome, Appended):
            raise outcome
        started = perf_counter()
        store.folder.reach(Positions((outcome.position,)), [files])
        waits.append(perf_counter() - started)
    return waits


class _Timed:
    """A group commit that notes how long each caller waits."""

    def __init__(self, group: GroupCommit | PartitionedCommit) -> None:
        self._group = group
        self.waits: list[float] = []

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        started = perf_counter()
        outcomes = self._group.append(commands)
        self.waits.append(perf_counter() - started)
        return outcomes

    async def append_async(self, commands: Sequence[Command]) -> list[Outcome]:
        started = perf_counter()
        outcomes = await self._group.append_async(commands)
        self.waits.append(perf_counter() - started)
        return outcomes


def _told(measured: Measured, waits: list[list[float]]) -> Measured:
    """Give the last percentile of each round, and all of them in ms."""
    cuts = [quantiles(each, n=100, method="inclusive") for each in waits]
    for percentile in PERCENTILES:
        values = [1_000 * each[percentile - 1] for each in cuts]
        measured.figures[f"p{percentile}, ms"] = round(median(values), 2)
        measured.values = values
    return measured


ROWS: Final = (
    Row(
        "latency-8-threads",
        "PostgreSQL: how long an append takes of 8 threads that append all the time; p99.",
        Goal("at most", 20, "ms"),
        partial(of_appends, callers=groups.THREADS, work=groups.run_threads),
    ),
    Row(
        "latency-64-async",
        "PostgreSQL: how long an append takes of 64 tasks that append all the time; p99.",
        Goal("at most", 50, "ms"),
        partial(of_appends, callers=groups.TASKS, work=groups.run_tasks),
    ),
    Row(
        "latency-own-writes",
        "PostgreSQL: how long 8 threads that write wait for their own writes in the tables; p99.",
        Goal("at most", 20, "ms"),
        of_own_writes,
    ),
)
