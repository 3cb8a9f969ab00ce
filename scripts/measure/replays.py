"""How fast a whole log is read, each event decoded."""

import os
import subprocess
from typing import Final

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from refold.domain.errors import Unavailable
from refold.domain.positions import PARTITION
from refold.infrastructure.folding.pages import PageReader
from refold.infrastructure.garbage import without_collection
from refold.infrastructure.open import open_store
from refold.scripts.measure import peers
from refold.scripts.measure.row import Goal, Measured, Row, paired, seconds
from refold.scripts.measure.site import Site


def replay(site: Site) -> Measured:
    """Read all events of a PostgreSQL store as values, against psql's COPY TO STDOUT into nothing.

    The reference makes text of all columns, which nobody reads.
    """
    with (
        peers.eventsourcing(site, lambda library: library.notifications(site)) as others,
        open_store(site.postgres) as store,
    ):
        read = 0

        def work() -> None:
            nonlocal read
            with without_collection(), PageReader(store.log, PARTITION) as reader:
                read = sum(len(store.codec.decode_all(page)) for page in reader.pages(site.events))

        measured = paired(
            site,
            lambda: site.events / seconds(work),
            lambda: site.events / seconds(lambda: _copy(site)),
            "events",
            others,
        )
    if read != site.events:
        measured.differences.append(f"{read} events were read instead of {site.events}")
    measured.figures["events"] = site.events
    return measured


def _copy(site: Site) -> None:
    settings = {name: str(value) for name, value in conninfo_to_dict(site.postgres).items()}
    password = settings.pop("password", "")  # others could see it in a command
    query = "COPY refold.events TO STDOUT"
    run = subprocess.run(  # noqa: S603 (composed here)
        [str(site.binaries / "psql"), "-Xqc", query, make_conninfo(**settings)],
        env={**os.environ, "PGPASSWORD": password},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    if run.returncode:
        raise Unavailable(f"psql failed: {run.stderr.strip()}")


ROWS: Final = (
    Row(
        "replay",
        "PostgreSQL: read a whole log, decoded, against COPY TO STDOUT by psql.",
        Goal("at least", 0.8),
        replay,
    ),
)
