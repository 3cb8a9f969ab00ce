"""Where the measurements take place: a folder, a PostgreSQL, and the logs that rows share."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
from psycopg import sql

from refold.domain.errors import Unavailable
from refold.domain.ports import State
from refold.infrastructure import config
from refold.infrastructure.folding import workers
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.binaries import find_binaries
from refold.infrastructure.postgres.cluster import throwaway
from refold.infrastructure.postgres.connection import check
from refold.infrastructure.progress import Progress
from refold.infrastructure.store import Store
from refold.scripts.measure import workload

Engine = Literal["postgresql", "sqlite"]

Connection = psycopg.Connection[tuple[object, ...]]

ROUNDS: Final = 5
QUICK_ROUNDS: Final = 2
EVENTS: Final = 300_000
QUICK_EVENTS: Final = 20_000


@dataclass
class Site:
    """`events` is the length of the logs that are copied and folded; `quick` says to be brief."""

    url: str = field(repr=False)
    binaries: Path
    folder: Path
    events: int
    quick: bool
    progress: Progress
    lasting: ExitStack
    """What goes when the site does."""
    lengths: Sequence[int] = ()
    """Lengths of the logs that are compared with each other, the longest one last."""
    peers: bool = True
    """Whether other libraries are measured, too."""
    _stores: dict[tuple[Engine, int], str] = field(default_factory=dict, init=False, repr=False)

    @property
    def rounds(self) -> int:
        """Return how often both sides of a row are measured."""
        return QUICK_ROUNDS if self.quick else ROUNDS

    def connect(self, url: str | None = None) -> Connection:
        """Return a connection to the database at `url`, the server's own where none is given."""
        return psycopg.connect(url or self.url, autocommit=True)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Give the url of an empty database, and drop it afterwards.

        A store in it has schema refold; what it is compared with has schema reference.
        """
        name = f"refold_bench_{uuid4().hex[:8]}"
        quoted = sql.Identifier(name)
        with self.connect() as server:
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(quoted))
        url = urlsplit(self.url)._replace(path=f"/{name}").geturl()
        try:
            with self.connect(url) as server:
                server.execute("CREATE SCHEMA reference")
            yield url
        finally:
            with self.connect() as server:
                server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(quoted))

    @property
    def sqlite(self) -> str:
        """Return the address of the SQLite store that rows share."""
        return self.store("sqlite", self.events)

    @property
    def postgres(self) -> str:
        """Return the address of the PostgreSQL store that rows share."""
        return self.store("postgresql", self.events)

    def store(self, engine: Engine, events: int) -> str:
        """Return the address of a store with the workload's log of that length, and its tables.

        It is made when it is first asked for.
        """
        if (engine, events) not in self._stores:
            self._stores[engine, events] = self._filled(engine, events)
        return self._stores[engine, events]

    def _filled(self, engine: Engine, events: int) -> str:
        address = f"sqlite:///{self.folder / f'log-{events}.db'}"
        if engine == "postgresql":
            address = self.lasting.enter_context(self.database())
        with open_store(address, create=True) as store:
            self.fill(store, events)
        if engine == "postgresql":
            with self.connect(address) as server:
                server.execute("VACUUM ANALYZE")
        return address

    def fill(self, store: Store, events: int) -> None:
        """Fill an empty store with the workload's log of that length, and fold its tables."""
        store.log.change_state(State.FILLING)
        for page in workload.pages(events):
            store.log.receive(page)
            self.progress("fill", page[-1].position, events)
        store.log.change_state(State.OPEN)
        with workers.helping(store):
            store.folder.catch_up()

    def new_folder(self) -> Path:
        """Return an empty folder, for the owner alone."""
        folder = self.folder / uuid4().hex
        folder.mkdir(mode=0o700)
        return folder

    def settle(self) -> None:
        """Write out what is dirty, so that no side pays for what the other one left behind."""
        with self.connect() as server, suppress(psycopg.errors.InsufficientPrivilege):
            server.execute("CHECKPOINT")


@contextmanager
def prepared(
    url: str | None, *, events: int, lengths: Sequence[int], quick: bool, progress: Progress
) -> Iterator[Site]:
    """Give a site on the PostgreSQL at `url`, or on a throw-away one with fsync on.

    Raises `Unavailable` when there is none, or no pgbench, and what `check` does of the url.
    """
    with ExitStack() as lasting:
        folder = Path(lasting.enter_context(TemporaryDirectory(prefix="refold-bench-")))
        if url:
            check(url, config.of_environment().storage.connecting)
            binaries = with_pgbench()
        else:
            cluster = lasting.enter_context(throwaway())
            url, binaries = cluster.url, Path(cluster.command[0]).parent
        yield Site(url, binaries, folder, events, quick, progress, lasting, sorted(lengths))


def with_pgbench() -> Path:
    """Return where PostgreSQL's programs are, pgbench among them. Raises `Unavailable`."""
    for binaries in find_binaries():
        if (binaries.directory / "pgbench").is_file():
            return binaries.directory
    raise Unavailable("there is no pgbench here, which gives the reference for appends")
