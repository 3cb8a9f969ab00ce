"""How fast the pushes that stand somewhere are listed, newest first."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from statistics import median
from typing import Final

from refold.infrastructure.codec import parse
from refold.infrastructure.legacy.git_proxy.importing import import_git_proxy
from refold.infrastructure.services.pushes import PENDING, list_pushes
from refold.projections.pushes import FLAGS
from refold.scripts.measure import pushes
from refold.scripts.measure.pushes import Engine
from refold.scripts.measure.row import Goal, Measured, Row, seconds
from refold.scripts.measure.site import Site

PUSHES: Final = 100_000
LISTED: Final = 100

QUERIES: Final[Mapping[str, Mapping[str, object]]] = {
    "pending": PENDING,
    "approved": {"type": "push", "authorised": True},
    "rejected": {"type": "push", "rejected": True},
    "canceled": {"type": "push", "canceled": True},
    "failed": {"type": "push", "error": True},
}
"""What git-proxy asks for."""


def by_status(site: Site, new: Callable[[Site], AbstractContextManager[Engine]]) -> Measured:
    """List the 100 newest pushes of each status, in turn: the slowest median counts.

    Beside it stands the plain SELECT that gives the same rows. With fewer events, the table has a
    fifth as many pushes.
    """
    there = min(PUSHES, site.events // 5)
    path = site.folder / "pushes.db"
    pushes.write_pushes_db(path, there)
    measured, ratios = Measured(figures={"pushes": there}), list[float]()
    with new(site) as engine:
        import_git_proxy(engine.store, [path])
        for number in range(site.rounds):
            site.progress("round", number, site.rounds)
            taken = {}
            for status, query in QUERIES.items():
                ours, theirs = _pair(engine, query, 20 if site.quick else 100)
                taken[status] = 1_000 * ours
                ratios.append(theirs / ours)
            measured.values.append(max(taken.values()))
            measured.figures |= {f"{status}, ms": round(ms, 2) for status, ms in taken.items()}
        measured.differences += [
            f"the {status} pushes are not those of the plain SELECT"
            for status, query in QUERIES.items()
            if not is_same(engine, query)
        ]
    measured.figures["ratio to SELECT"] = round(median(ratios), 2)
    return measured


def _pair(engine: Engine, query: Mapping[str, object], times: int) -> tuple[float, float]:
    """Return the median seconds of a listing, and of the plain SELECT, in turn."""
    plain = _select(query)
    taken = [
        (
            seconds(lambda: list_pushes(engine.store, query, limit=LISTED)),
            seconds(lambda: engine.select(plain)),
        )
        for _ in range(times)
    ]
    return median(ours for ours, _ in taken), median(theirs for _, theirs in taken)


def is_same(engine: Engine, query: Mapping[str, object]) -> bool:
    """Tell whether there are such pushes, and refold lists those of the plain SELECT."""
    expected = [parse(summary.encode()) for (summary,) in engine.select(_select(query))]
    return bool(expected) and list_pushes(engine.store, query, limit=LISTED) == expected


def _select(query: Mapping[str, object]) -> str:
    asked = [
        f"{FLAGS[name]} = {value:d}" if isinstance(value, bool) else f"{name} = '{value}'"
        for name, value in query.items()
    ]
    return (
        f"SELECT summary FROM pushes WHERE {' AND '.join(asked)}"
        f" ORDER BY newest_first, id LIMIT {LISTED}"
    )


ROWS: Final = (
    Row(
        "list-pushes-sqlite",
        "SQLite: list 100 of 100 000 pushes by where they stand.",
        Goal("at most", 10, "ms"),
        partial(by_status, new=pushes.in_sqlite),
    ),
    Row(
        "list-pushes-postgres",
        "PostgreSQL: list 100 of 100 000 pushes by where they stand.",
        Goal("at most", 10, "ms"),
        partial(by_status, new=pushes.in_postgres),
    ),
)
