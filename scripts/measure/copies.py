"""How fast a log goes from SQLite to PostgreSQL, read back and proven."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import gettempdir
from time import perf_counter
from typing import Final
from uuid import uuid4

from refold.infrastructure.moving import copying
from refold.infrastructure.open import open_store
from refold.scripts.measure.row import Goal, Measured, Row, paired, seconds
from refold.scripts.measure.site import Connection, Site


def copy(site: Site) -> Measured:
    """Copy a SQLite store to an empty PostgreSQL one, against COPY FROM a file on the server.

    The ratio is that of the log: carried over, read back, both chains walked. The whole copy, with
    the tables folded there and all of them compared, is a figure beside it. The reference loads a
    file in binary format into a table with the same three indexes, and verifies nothing.
    """
    wholes: list[float] = []
    wrong: list[str] = []
    with (
        open_store(site.sqlite) as source,
        site.connect(site.postgres) as server,
        _file_of_events(server) as file,
    ):

        def refold() -> float:
            with site.database() as url, open_store(url, create=True) as target:
                site.settle()
                watch = _Stopwatch()
                certificate = copying.copy(source, target, watch)
                wholes.append(certificate.seconds)
                wrong.extend(certificate.differences)
            if certificate.position != site.events:
                wrong.append(f"the copy ends at position {certificate.position}")
            return site.events / (watch.started["fold"] - watch.started["copy"])

        def reference() -> float:
            server.execute("DROP TABLE IF EXISTS reference.events")
            server.execute("CREATE TABLE reference.events (LIKE refold.events INCLUDING ALL)")
            site.settle()
            load = f"COPY reference.events FROM '{file}' (FORMAT binary)".encode()
            return site.events / seconds(lambda: server.execute(load))

        measured = paired(site, refold, reference, "events")
        if _sum(server, "refold") != _sum(server, "reference"):
            wrong.append("the reference holds other events than the copy")
    measured.differences += dict.fromkeys(wrong)
    measured.figures |= {
        "events": site.events,
        "whole copy, seconds": round(median(wholes), 2),
        "whole copy, events a second": round(site.events / median(wholes)),
    }
    return measured


class _Stopwatch:
    """Notes when each part of a copy was first heard of."""

    def __init__(self) -> None:
        self.started: dict[str, float] = {}

    def __call__(self, what: str, *_: int) -> None:
        self.started.setdefault(what, perf_counter())


@contextmanager
def _file_of_events(server: Connection) -> Iterator[Path]:
    """Have the server write the log to a file of its own.

    A server elsewhere, or of another user, keeps an empty file.
    """
    file = Path(gettempdir()) / f"refold-bench-{uuid4().hex}"
    server.execute(f"COPY refold.events TO '{file}' (FORMAT binary)".encode())
    try:
        yield file
    finally:
        server.execute(f"COPY (SELECT) TO '{file}'".encode())
        with suppress(OSError):
            file.unlink()


def _sum(server: Connection, schema: str) -> object:
    query = f"SELECT count(*), sum(hashtextextended(e::text, 0)) FROM {schema}.events e"
    return server.execute(query.encode()).fetchone()


ROWS: Final = (
    Row(
        "copy",
        "SQLite to PostgreSQL: carry the log over and read it back, against COPY FROM a file.",
        Goal("at least", 0.5),
        copy,
    ),
)
