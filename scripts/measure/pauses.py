"""How long services wait while their store moves: 4 processes that write at full rate go along."""

import os
from itertools import count
from multiprocessing.connection import Connection
from statistics import median
from time import sleep
from typing import Final
from urllib.parse import urlsplit

from refold.domain.errors import Unavailable
from refold.infrastructure.commands import run
from refold.infrastructure.folding import workers
from refold.infrastructure.moving import cutover
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.scripts.measure import forks, groups
from refold.scripts.measure.row import Goal, Measured, Row
from refold.scripts.measure.site import Site

WRITERS: Final = 4
UNDISTURBED_SECONDS: Final = 1.0
"""How long the services write between two moves."""


def of_moves(site: Site) -> Measured:
    """Move a store from SQLite to PostgreSQL and back while services write, and take the pauses.

    The first move carries the whole log, the others what came since; each compares all tables.
    A pause is the time from the seal of the source to the opening of the target. In the end every
    command that was acknowledged is in the log once.
    """
    measured, pauses = Measured(), dict[str, list[float]]()
    path = site.new_folder() / "moving.db"
    with (
        open_store(f"sqlite:///{path}", create=True) as here,
        site.database() as url,
        open_store(url, create=True) as there,
    ):
        site.fill(here, site.events)
        password = urlsplit(url).password or ""
        given = [(here.address.public, password, str(number)) for number in range(WRITERS)]
        with forks.started(_serve, given) as services:
            for number in range(site.rounds):
                site.progress("round", number, site.rounds)
                for source, target, title in (
                    (here, there, "to PostgreSQL, s"),
                    (there, here, "to SQLite, s"),
                ):
                    sleep(UNDISTURBED_SECONDS)
                    pause = _moved(source, target, measured)
                    pauses.setdefault(title, []).append(pause)
            sleep(UNDISTURBED_SECONDS)
            acknowledged = sum(forks.ask(services, None))
        groups.checked(measured, here, site.events + acknowledged)
    measured.values = [pause for each in pauses.values() for pause in each]
    measured.figures |= {title: round(median(each), 2) for title, each in pauses.items()}
    measured.figures |= {
        "events": site.events,
        "appended meanwhile": acknowledged,
        "services": WRITERS,
    }
    return measured


def _moved(source: Store, target: Store, measured: Measured) -> float:
    with workers.helping(target):
        certificate = cutover.move(source, target)
    measured.differences += certificate.differences
    if certificate.pause is None:
        raise Unavailable("the move ended before it sealed its source")
    return certificate.pause


def _serve(url: str, password: str, name: str, orders: Connection) -> None:
    """Make new files known until told to end, one after the other."""
    os.environ["PGPASSWORD"] = password  # where a store has moved is told without it
    with open_store(url, follow_moves=True) as store:
        for number in count():
            if orders.poll():
                orders.send(number)
                return
            data = {"sha256": f"{name}{number:063x}", "cid": "cid", "name": f"holiday {number}"}
            run(store, "file.register", data, command_id=f"{name}-{number}", actor="ada")


ROWS: Final = (
    Row(
        "move-pause",
        "SQLite to PostgreSQL and back under 4 services: seconds in which neither takes commands.",
        Goal("at most", 1, "s"),
        of_moves,
    ),
)
