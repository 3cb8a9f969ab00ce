"""Tools that carry tables from one engine to the other, where they are installed.

They verify nothing, which is done for them: what they brought is counted.
"""

import os
import subprocess
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from shutil import which
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from refold.domain.errors import Unavailable
from refold.scripts.measure import raw
from refold.scripts.measure.row import Peer, Peers, seconds
from refold.scripts.measure.site import Site

_LOAD = """
LOAD DATABASE FROM sqlite://{path} INTO {url}
WITH include drop, create tables, create indexes, reset sequences
SET search_path TO 'reference'
INCLUDING ONLY TABLE NAMES LIKE 'events';
"""


def to_postgres(site: Site, path: Path) -> Peers:
    """Give pgloader, which loads the events of a SQLite file into an empty database."""
    program = which("pgloader")
    if program is None:
        return {}
    counts: list[object] = []

    def rate() -> float:
        with site.database() as url, site.connect(url) as server:
            load = site.folder / "events.load"
            load.write_text(_LOAD.format(path=path, url=_without_password(url)))
            taken = seconds(lambda: _run([program, str(load)], url))
            counts.extend(server.execute("SELECT count(*) FROM reference.events").fetchone() or ())
        return site.events / taken

    return {"pgloader": Peer(rate, lambda: _told(counts, site.events))}


def to_sqlite(site: Site) -> Peers:
    """Give sqlite-utils and db-to-sqlite, which make a SQLite file of the events in PostgreSQL."""
    peers: dict[str, Peer] = {}
    if find_spec("sqlite_utils"):
        peers["sqlite-utils"] = _into_file(site, lambda path: _by_sqlite_utils(site.postgres, path))
    if program := which("db-to-sqlite"):
        url = site.postgres
        asked = ("--table", "events", "--postgres-schema", "refold")
        peers["db-to-sqlite"] = _into_file(
            site, lambda path: _run([program, _without_password(url), str(path), *asked], url)
        )
    return peers


def _into_file(site: Site, work: Callable[[Path], None]) -> Peer:
    path, counts = site.folder / "tool.db", list[object]()

    def rate() -> float:
        raw.remove(path)
        taken = seconds(lambda: work(path))
        with raw.opened(path) as server:
            counts.extend(server.execute("SELECT count(*) FROM events").fetchone())
        raw.remove(path)
        return site.events / taken

    return Peer(rate, lambda: _told(counts, site.events))


def _by_sqlite_utils(url: str, path: Path) -> None:
    database = import_module("sqlite_utils").Database(path)
    with (
        psycopg.connect(url) as server,
        server.cursor("events", row_factory=dict_row) as cursor,  # it gives page by page
    ):
        cursor.itersize = 10_000
        cursor.execute("SELECT * FROM refold.events ORDER BY position")
        events = database["events"]
        events.insert_all(cursor, pk=("partition", "position"), batch_size=10_000)
    events.create_index(["stream", "version"], unique=True)
    events.create_index(["command_id"])
    database.close()


def _run(command: Sequence[str], url: str) -> None:
    """Run a tool that finds the password of the database at `url` in its environment."""
    password = str(conninfo_to_dict(url).get("password") or "")
    run = subprocess.run(  # noqa: S603 (composed here)
        command, env={**os.environ, "PGPASSWORD": password}, capture_output=True, text=True
    )
    if run.returncode:
        said = (run.stderr or run.stdout).strip().rpartition("\n")[2]
        raise Unavailable(f"{Path(command[0]).name} failed: {said}")


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{parts.username}@{parts.hostname}:{parts.port}").geturl()


def _told(counts: Sequence[object], expected: int) -> list[str]:
    return [f"it brought {count} events of {expected}" for count in counts if count != expected]
