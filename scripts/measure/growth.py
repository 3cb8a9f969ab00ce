"""What an operation costs in logs of several lengths: it must not grow with the log."""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from random import Random
from shutil import which
from statistics import median
from typing import Final, NamedTuple

from psycopg.errors import FeatureNotSupported, InsufficientPrivilege, UndefinedFile

from refold.domain import file, streams
from refold.domain.ports import Appended
from refold.infrastructure.address import Sqlite
from refold.infrastructure.checking.explaining import explain
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.files import state
from refold.infrastructure.services.files import list_files, search
from refold.infrastructure.store import Store
from refold.projections import files
from refold.scripts.measure import memory, workload
from refold.scripts.measure.questions import SHOWN, TERMS
from refold.scripts.measure.row import Goal, Measured, Row, seconds
from refold.scripts.measure.site import Engine, Site

LENGTHS: Final = (10_000, 100_000, 1_000_000, 5_000_000)
QUICK_LENGTHS: Final = LENGTHS[:2]

LISTED: Final = 100

_NO_EXTENSION: Final = (FeatureNotSupported, InsufficientPrivilege, UndefinedFile)


class Place(NamedTuple):
    """A store, sums of files that are in it, at random, and files that are not."""

    store: Store
    known: Iterator[str]
    new: Iterator[file.Registered]


Operation = Callable[[Place], bool]
"""It tells whether what came back was what it has to be."""


def append(place: Place) -> bool:
    """Append one event."""
    [outcome] = place.store.log.append([workload.command(next(place.new), 0)])
    return isinstance(outcome, Appended)


def load(place: Place) -> bool:
    """Load and fold a file."""
    sha256 = next(place.known)
    return state(place.store.history(streams.name("file", sha256))).sha256 == sha256


def find(place: Place) -> bool:
    """Search for the first 20 of each term."""
    found = [search(place.store, term, after=None, limit=SHOWN) for term in TERMS]
    return all(len(each.rows) == min(each.total, SHOWN) for each in found)


def listing(place: Place) -> bool:
    """List the first 100 files, with tags and counts."""
    return len(list_files(place.store, after=None, limit=LISTED)) == LISTED


def explanation(place: Place) -> bool:
    """Tell which events made the row of a file."""
    return explain(place.store, files, (next(place.known),)).is_well


def growth(site: Site, engine: Engine, operation: Operation, times: int) -> Measured:
    """Compare what an operation costs in the longest log and in one about a fiftieth as long.

    All lengths take turns in each round: the median of so many operations each.
    """
    measured = Measured()
    taken: dict[int, list[float]] = {length: [] for length in site.lengths}
    was_read = False
    with ExitStack() as closing:
        places = []
        for length in site.lengths:
            address = site.store(engine, length)
            store = closing.enter_context(open_store(address))
            places.append((length, address, _place(store, length)))
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            site.settle()
            for length, address, place in reversed(places) if number % 2 else places:
                was_read = _read(site, place.store, address)
                right: list[bool] = []
                work = partial(_do, operation, place, right)
                taken[length].append(median(seconds(work) for _ in range(times)))
                if not all(right):
                    measured.differences.append(f"a wrong answer from {length} events")
    measured.values = ratios(taken)
    measured.figures |= {
        f"{length} events, ms": round(1_000 * median(each), 3) for length, each in taken.items()
    }
    measured.figures["files were in memory"] = was_read
    return measured


def growth_of_memory(site: Site, engine: Engine) -> Measured:
    """Compare the peak of `refold rebuild` on the longest log with that on a fiftieth of it."""
    taken: dict[int, list[float]] = {}
    measured = Measured()
    for length in site.lengths:
        printed, peak = memory.refold(site, "rebuild", "--store", site.store(engine, length))
        taken[length] = [peak]
        measured.differences += memory.differing(printed)
    measured.values = ratios(taken)
    measured.figures |= {f"{length} events, MB": round(each[0]) for length, each in taken.items()}
    return measured


def _place(store: Store, length: int) -> Place:
    random = Random(length)  # noqa: S311 - the same files every time are the point
    fewest = max(length // 6, 1)  # files that are known: about a fifth of the events
    known = (workload.sum_of(random.randint(1, fewest)) for _ in iter(int, 1))
    return Place(store, known, workload.files(seed=random.getrandbits(64)))


def _read(site: Site, store: Store, address: str) -> bool:
    """Have the system hold a store's files in memory: the disk's time is not what is asked.

    It may have let go of them since the last time. PostgreSQL's are read by its extension
    pg_prewarm; tell whether that could be created.
    """
    if isinstance(store.address, Sqlite):
        read = [which("cat") or "cat", "--", str(store.address.path), str(store.address.tables)]
        # Another process: if this one closed them, it would let go of the locks of the open store.
        subprocess.run(read, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 (composed here)
        return True
    with site.connect(address) as server, suppress(*_NO_EXTENSION):
        server.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
        server.execute(
            "SELECT pg_prewarm(oid::regclass, 'read') FROM pg_class"
            " WHERE relnamespace = 'refold'::regnamespace AND relkind IN ('r', 'i')"
        )
        return True
    return False


def _do(operation: Operation, place: Place, right: list[bool]) -> None:
    right.append(operation(place))


def ratios(taken: dict[int, list[float]]) -> list[float]:
    """Return the costs in the longest log by those in the one nearest to a fiftieth of it."""
    longest = max(taken)
    base = min(taken, key=lambda length: abs(length - longest // 50))
    return [long / short for long, short in zip(taken[longest], taken[base], strict=True)]


_OPERATIONS: Final[tuple[tuple[str, str, Operation, float, int], ...]] = (
    ("load", "load and fold a file", load, 1.2, 200),
    ("search", "search for a dozen of terms", find, 2, 5),
    ("list", "list 100 files", listing, 2, 20),
    ("explain", "tell which events made a row", explanation, 1.2, 50),
    ("append", "append one event", append, 1.2, 200),
)

_ENGINES: Final[tuple[tuple[Engine, str], ...]] = (
    ("postgresql", "PostgreSQL"),
    ("sqlite", "SQLite"),
)

ROWS: Final = tuple(
    Row(
        f"growth-{name}-{engine}",
        f"{title}: {what}, in the longest log against one about a fiftieth as long.",
        Goal("at most", most),
        partial(growth, engine=engine, operation=operation, times=times),
    )
    for engine, title in _ENGINES
    for name, what, operation, most, times in _OPERATIONS
) + tuple(
    Row(
        f"growth-memory-{engine}",
        f"{title}: peak memory of `refold rebuild`, likewise.",
        Goal("at most", 1.2),
        partial(growth_of_memory, engine=engine),
    )
    for engine, title in _ENGINES
)
