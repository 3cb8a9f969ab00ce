"""How long an answer takes: a search, and the explanation of a row."""

from collections.abc import Callable
from functools import partial
from itertools import islice
from statistics import median
from time import perf_counter
from typing import Final

from refold.infrastructure.checking.explaining import explain as explained
from refold.infrastructure.open import open_store
from refold.infrastructure.services.files import Found, search
from refold.infrastructure.store import Store
from refold.projections import file_tags
from refold.scripts.measure.row import Goal, Measured, Row, seconds
from refold.scripts.measure.site import Site

TERMS: Final = (
    *("budget", "school", "manual", "pdf", "garden report", '"annual budget"', "law or music"),
    *("rec*", "record*", "museum -pdf", "1234", "nothing"),
)
"""What is searched for: words that many files share, phrases, what few have, what none has."""

SHOWN: Final = 20
EXPLAINED: Final = 200


def searches(site: Site, address: Callable[[Site], str]) -> Measured:
    """Search for the first 20 of each term: the slowest median counts.

    What is found is compared with the other engine's hits, which is a copy.
    """
    measured = Measured()
    others = {site.sqlite, site.postgres} - {address(site)}
    with open_store(address(site)) as store, open_store(others.pop()) as other:
        expected = {term: _search(other, term) for term in TERMS}
        files = {term: found.total for term, found in expected.items()}
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            taken = {term: _taken(store, term, 5 if site.quick else 20) for term in TERMS}
            measured.values.append(max(taken.values()))
            measured.figures |= {
                f"{term} ({files[term]}), ms": round(ms, 2) for term, ms in taken.items()
            }
        measured.differences += [
            f"what is found for {term} is not what the other engine finds"
            for term in TERMS
            if _search(store, term) != expected[term]
        ]
    measured.figures["events"] = site.events
    return measured


def _search(store: Store, term: str) -> Found:
    return search(store, term, after=None, limit=SHOWN)


def _taken(store: Store, term: str, times: int) -> float:
    """Return the median of so many searches in ms."""
    return 1_000 * median(seconds(lambda: _search(store, term)) for _ in range(times))


def explanations(site: Site, address: Callable[[Site], str]) -> Measured:
    """Explain rows of file_tags, spread over the table: the median of all."""
    measured = Measured(figures={"events": site.events})
    with open_store(address(site)) as store:
        keys = _keys(store, 20 if site.quick else EXPLAINED)
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            taken = []
            for key in keys:
                started = perf_counter()
                found = explained(store, file_tags, key)
                taken.append(perf_counter() - started)
                if not found.is_well:
                    measured.differences.append(f"the row of {' '.join(key)} is not well")
            measured.values.append(1_000 * median(taken))
    return measured


def _keys(store: Store, number: int) -> list[tuple[str, ...]]:
    with store.tables.reading() as connection:
        generation = store.tables.current(connection)[file_tags.NAME]
        rows = list(store.tables.rows.scan(connection, generation))
    return [row[:2] for row in islice(rows, 0, None, max(1, len(rows) // number))]


def _sqlite(site: Site) -> str:
    return site.sqlite


def _postgres(site: Site) -> str:
    return site.postgres


ROWS: Final = tuple(
    Row(f"{name}-{engine.lower()}", f"{engine}: {what}", goal, partial(measure, address=address))
    for name, what, goal, measure in (
        ("search", "find the first 20 files of a term.", Goal("at most", 10, "ms"), searches),
        ("explain", "tell which events made a row.", Goal("at most", 50, "ms"), explanations),
    )
    for engine, address in (("SQLite", _sqlite), ("PostgreSQL", _postgres))
)
