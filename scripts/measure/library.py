"""An application of the eventsourcing library, saved on refold and on the library's recorders."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter
from typing import Literal
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate
from psycopg.conninfo import conninfo_to_dict

from refold.scripts.measure.row import Measured, paired
from refold.scripts.measure.site import Site

MODULE = "refold.infrastructure.eventsourcing"


class Named(Aggregate):
    """Something with a name."""

    def __init__(self, name: str) -> None:
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
    if engine == "sqlite":
        folder = site.folder / f"names-{threads}"
        folder.mkdir(mode=0o700)
        return (
            {"PERSISTENCE_MODULE": MODULE, "REFOLD_STORE": f"sqlite:///{folder}"},
            {
                "PERSISTENCE_MODULE": "eventsourcing.sqlite",
                "SQLITE_DBNAME": str(folder / "reference.db"),
            },
        )
    url = closing.enter_context(site.database())
    named = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    return (
        {"PERSISTENCE_MODULE": MODULE, "REFOLD_STORE": url},
        {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": named["dbname"],
            "POSTGRES_HOST": named.get("host", ""),
            "POSTGRES_PORT": named.get("port", "5432"),
            "POSTGRES_USER": named.get("user", ""),
            "POSTGRES_PASSWORD": named.get("password", ""),
            "POSTGRES_SCHEMA": "reference",
        },
    )
