"""The log in PostgreSQL."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from operator import itemgetter
from time import time_ns
from typing import Any, Final, TypeVar

import psycopg
from psycopg import sql
from psycopg.errors import DataError, UniqueViolation
from psycopg_pool import ConnectionPool, PoolClosed

from refold.domain.errors import Refused, Unavailable
from refold.domain.ports import (
    Appended,
    Beside,
    Claim,
    Command,
    Expected,
    Head,
    History,
    Identity,
    Key,
    Outcome,
    Recorded,
    Seal,
    Snapshot,
    State,
    Tracked,
)
from refold.domain.positions import Positions
from refold.infrastructure import limits, lots
from refold.infrastructure.address import ORDINARY, Connecting
from refold.infrastructure.appending.exact import Exact, exact, outcomes
from refold.infrastructure.appending.sorting import (
    Facts,
    Known,
    by_partition,
    check_following,
    check_state,
    ends_at,
    is_in,
    is_received,
    sort,
    taken,
)
from refold.infrastructure.patience import patiently
from refold.infrastructure.postgres import silence
from refold.infrastructure.postgres.connection import (
    available,
    configure_for_store,
    parameters,
    watch,
)
from refold.infrastructure.postgres.prepared import Prepared
from refold.infrastructure.statements import statements

MOST_SIZES: Final = 100_000
"""Events whose sizes are looked at for one page."""

_DATA: Final = itemgetter(Recorded._fields.index("data"))

T = TypeVar("T")


class Connection(silence.Connection):
    """A connection that keeps its cursors: making one takes a good part of a query's time."""

    @cached_property
    def rows(self) -> psycopg.Cursor[tuple[Any, ...]]:
        """Return the cursor for rows of any kind; its results are binary."""
        return self.cursor(binary=True)

    @cached_property
    def records(self) -> psycopg.Cursor[Recorded]:
        """Return the cursor for events as they are; its results are binary."""
        return self.cursor(binary=True, row_factory=_recorded)

    @cached_property
    def _ready(self) -> set[Prepared]:
        return set()

    def number(self, statement: Prepared, parameters: Sequence[object]) -> int | None:
        """Return what comes of a statement, which is prepared when it is first run here."""
        if statement not in self._ready:
            statement.prepare(self)
            self._ready.add(statement)
        return statement.run(self, parameters)


def _recorded(_: object) -> Callable[[Sequence[Any]], Recorded]:
    return lots.record


class PostgresLog:
    """A `Log` in one schema of a database; safe for many threads and processes."""

    def __init__(self, address: str, schema: str, connecting: Connecting = ORDINARY) -> None:
        """Open the log in `schema`, which is up to date. Raises `Unavailable`."""
        self._address = address
        self._silent_seconds = connecting.silent_seconds
        self._largest = 0  # bytes of an event, where sizes were looked at last
        quoted = sql.Identifier(schema).as_bytes(None)
        self._sql = {
            name: text.replace(b"refold.", quoted + b".")
            for name, text in statements(__package__ or "").items()
        }
        self._prepared = {
            name: Prepared(self._sql[name]) for name in ("append_exact", "track_and_append_exact")
        }
        self._pool = ConnectionPool(
            address,
            connection_class=Connection,
            min_size=connecting.min_size,
            max_size=connecting.max_size,
            timeout=connecting.connect_seconds,
            kwargs=lambda: {
                "autocommit": True,
                "prepare_threshold": 0,
                **parameters(address, connecting),
            },
            configure=lambda connection: _configure(connection, address, connecting),
            open=True,
        )
        try:
            self._partitions = len(self.heads())
        except BaseException:
            self._pool.close()
            raise

    @property
    def partitions(self) -> int:
        return self._partitions

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        return by_partition(commands, self._partitions, self._append_to)

    def _append_to(self, partition: int, commands: Sequence[Command]) -> list[Outcome]:
        return self._patiently(lambda connection: self._append(connection, partition, commands))

    def _append(
        self, connection: Connection, partition: int, commands: Sequence[Command]
    ) -> list[Outcome]:
        batch = exact(commands)
        if batch and not (batch.trackings and self._partitions > 1):
            position = self._append_exact(connection, partition, batch)
            if position is not None:
                return outcomes(commands, partition, position)
        while True:
            try:
                return self._append_locked(connection, partition, commands)
            except UniqueViolation as error:  # by a command of the same id in another partition
                if self._partitions == 1 or error.diag.constraint_name not in _TAKEN:
                    raise

    def _append_exact(self, connection: Connection, partition: int, batch: Exact) -> int | None:
        """Return the position before the first event; None where the locked path has to decide."""
        guards, rows = _columns(batch.guards, 2), _columns(batch.rows, 8)
        trackings = _columns(batch.trackings, 3) if batch.trackings else ()
        name = "track_and_append_exact" if trackings else "append_exact"
        parameters = (partition, _now(), *guards, *rows, *trackings)
        try:
            return connection.number(self._prepared[name], parameters)
        except UniqueViolation as error:
            if error.diag.constraint_name not in _TAKEN:
                raise
            return None

    def _append_locked(
        self, connection: Connection, partition: int, commands: Sequence[Command]
    ) -> list[Outcome]:
        with connection.transaction():
            result = sort(commands, self._facts(connection, partition, commands), _now())
            if result.records:
                connection.execute(self._sql["insert_events"], _columns(result.records, 11))
            self._change_claims(connection, result.released, result.taken)
            if result.keys:
                connection.execute(self._sql["merge_keys"], _columns(result.keys, 3))
            if result.trackings:
                connection.execute(self._sql["keep_trackings"], _columns(result.trackings, 3))
        return result.outcomes

    def _change_claims(
        self, connection: Connection, released: Collection[Claim], taken: Collection[Claim]
    ) -> None:
        for name, claims in ("release_claims", released), ("take_claims", taken):
            if claims:
                connection.execute(self._sql[name], _columns(claims, 3))

    def _facts(self, connection: Connection, partition: int, commands: Sequence[Command]) -> Facts:
        """Lock the head, then read; each statement sees all that was committed before the lock.

        What belongs to no partition is behind a second lock, where there are several.
        """
        state, successor = self._row(connection, "lock_head", partition) or ("open", None)
        if self._partitions > 1 and any(map(_is_shared, commands)):
            connection.execute(self._sql["lock_claims"])
        position, recorded_at = self._row(connection, "read_last", partition) or (0, 0)
        streams = sorted({write.stream for command in commands for write in command.writes})
        claims = {
            (claim.kind, claim.value)
            for command in commands
            for claim in (*command.takes, *command.releases)
        }
        ids = [command.id for command in commands]
        subjects = [key.subject for command in commands for key in command.keys]
        applications = [each.application for command in commands for each in command.trackings]
        return Facts(
            Head(partition, position, State(state), successor),
            recorded_at,
            versions=dict(connection.execute(self._sql["read_versions"], (streams,)).fetchall()),
            commands={
                id: Known(stream, Appended(*end))
                for id, stream, *end in connection.execute(self._sql["read_commands"], (ids,))
            },
            claims={
                (kind, value): stream
                for kind, value, stream in (
                    connection.execute(self._sql["read_holders"], _columns(claims, 2))
                    if claims
                    else ()
                )
            },
            keys={
                row[0]: Key(*row)
                for row in (
                    connection.execute(self._sql["read_keys"], (subjects, subjects))
                    if subjects
                    else ()
                )
            },
            trackings={
                row[0]: Tracked(*row)
                for row in (
                    connection.execute(self._sql["read_trackings"], (applications, applications))
                    if applications
                    else ()
                )
            },
        )

    def _row(self, connection: Connection, name: str, *parameters: object) -> Any:
        return connection.execute(self._sql[name], parameters).fetchone()

    def stream(self, stream: str, after: int = 0) -> list[Recorded]:
        return self._records("read_stream", stream, after)

    def history(self, stream: str) -> History:
        return History(*zip(*self._read("read_history", stream), strict=True))

    def family(self, family: str) -> list[Recorded]:
        return self._records("read_family", family, family, family)

    def page(self, partition: int, after: int, limit: int) -> list[Recorded]:
        share = limits.PAGE_BYTES // max(limit, 1)
        if self._largest <= share:
            found = (share, share, partition, after, after + limit)
            page = self._records("read_page_of_small", *found)
            if all(map(_DATA, page)):
                return page
        return self._page_by_sizes(partition, after, min(limit, MOST_SIZES))

    def _page_by_sizes(self, partition: int, after: int, limit: int) -> list[Recorded]:
        sizes = self._read("read_sizes", partition, after, after + limit)
        self._largest = max((size for _, size in sizes), default=0)
        if not sizes:
            return []
        until, _ = sizes[lots.fitting(size for _, size in sizes) - 1]
        return self._records("read_page", partition, after, until)

    def outcome(self, command_id: str) -> Appended | None:
        rows = self._read("read_commands", [command_id])
        return next((Appended(*end)._replace(again=True) for _, _, *end in rows), None)

    def holder(self, kind: str, value: str) -> str | None:
        return self.holders([(kind, value)]).get((kind, value))

    def streams(self, streams: Collection[str]) -> list[Recorded]:
        return self._records("read_streams", list(streams))

    def holders(self, claims: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        rows = self._read("read_holders", *_columns(claims, 2))
        return {(kind, value): stream for kind, value, stream in rows}

    def tracked(self, application: str) -> Tracked | None:
        rows = self._read("read_trackings", [application], [application])
        return next(map(Tracked._make, rows), None)

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> bool:
        rows = _columns(snapshots, 4)
        tried = False

        def keep(connection: Connection) -> bool:
            nonlocal tried
            is_again, tried = tried, True
            try:
                connection.execute(self._sql["keep_snapshots"], rows)
            except UniqueViolation:  # also when the answer to the first try was lost
                return is_again and all(self._has(connection, each) for each in snapshots)
            return True

        return self._patiently(keep)

    def _has(self, connection: Connection, snapshot: Snapshot) -> bool:
        stream, version = snapshot.stream, snapshot.version
        found = connection.rows.execute(
            self._sql["read_snapshots"], (stream, version - 1, version, 1)
        )
        return found.fetchone() == snapshot

    def snapshots(self, stream: str, after: int, until: int, limit: int) -> list[Snapshot]:
        rows = self._read("read_snapshots", stream, after, until, limit)
        return list(map(Snapshot._make, rows))

    def identity(self) -> Identity:
        return Identity(*self._read("read_identity")[0])

    def heads(self) -> list[Head]:
        return [_head(row) for row in self._read("read_heads")]

    def change_state(
        self,
        state: State,
        *,
        expected: Expected = None,
        at: Positions | None = None,
        successor: str | None = None,
        log_id: str | None = None,
    ) -> list[Head]:
        asked = False

        def change(connection: Connection) -> list[Head]:
            nonlocal asked
            with connection.transaction():
                connection.execute(self._sql["lock_heads"])
                heads = [_head(row) for row in connection.execute(self._sql["read_heads"])]
                if not asked or not is_in(heads, state, successor):
                    check_state(heads, expected, at)  # else the answer to its commit was lost
                asked = True
                connection.execute(self._sql["change_state"], (state.value, successor))
                if log_id is not None:
                    connection.execute(self._sql["change_log_id"], (log_id,))
                return [_head(row) for row in connection.execute(self._sql["read_heads"])]

        return self._patiently(change)

    def seals(self, partition: int) -> list[Seal]:
        return [Seal(*row) for row in self._read("read_seals", partition)]

    def add_seals(self, seals: Sequence[Seal]) -> None:
        rows = [(seal.partition, seal.position, seal.chain) for seal in seals]
        if rows:
            self._patiently(
                lambda connection: connection.execute(self._sql["add_seals"], _columns(rows, 3))
            )

    def keys(self, subjects: Sequence[str] | None = None) -> list[Key]:
        wanted = None if subjects is None else list(subjects)
        return [Key(*row) for row in self._read("read_keys", wanted, wanted)]

    def merge_keys(self, keys: Sequence[Key]) -> None:
        if keys:
            rows = _columns(keys, 3)
            self._patiently(lambda connection: connection.execute(self._sql["merge_keys"], rows))

    def receive(self, records: Sequence[Recorded]) -> None:
        if not records:
            return
        partition = records[0].partition

        def write(connection: Connection) -> None:
            with connection.transaction():
                state, _ = self._row(connection, "lock_head", partition)
                position, _ = self._row(connection, "read_last", partition) or (0, 0)
                head = Head(partition, position, State(state), None)
                last = self._row(connection, "read_page", partition, position - 1, position)
                if is_received(records, head, last and Recorded(*last)):
                    return  # also when an earlier try, whose connection broke, had gone in
                check_following(records, head)
                with connection.cursor().copy(self._sql["copy_events"]) as copy:
                    copy.set_types(_TYPES)
                    for record in records:
                        copy.write_row(record)

        try:
            self._patiently(write)
        except UniqueViolation as error:
            if error.diag.constraint_name not in _TAKEN:
                raise
            raise taken(records) from error
        except DataError as error:
            raise Refused(
                f"one of the events {records[0].position} to {records[-1].position} has a text or"
                " number that PostgreSQL cannot keep"
            ) from error

    def create_indexes(self) -> None:
        """Do nothing: they are kept as events come."""

    def claims(self) -> Beside:
        def read(connection: Connection) -> Beside:
            with connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                trackings = connection.execute(self._sql["read_trackings"], (None, None))
                return Beside(
                    [_head(row) for row in connection.execute(self._sql["read_heads"])],
                    [Claim(*row) for row in connection.execute(self._sql["read_claims"])],
                    [Tracked(*row) for row in trackings],
                )

        return self._patiently(read)

    def replace_claims(
        self, claims: Sequence[Claim], trackings: Sequence[Tracked], positions: Positions
    ) -> bool:
        def replace(connection: Connection) -> bool:
            with connection.transaction():
                connection.execute(self._sql["lock_heads"])
                if not ends_at(map(_head, connection.execute(self._sql["read_heads"])), positions):
                    return False
                before = {Claim(*row) for row in connection.execute(self._sql["read_claims"])}
                self._change_claims(connection, before.difference(claims), set(claims) - before)
                connection.execute(self._sql["forget_trackings"])
                connection.execute(self._sql["keep_trackings"], _columns(trackings, 3))
            return True

        return self._patiently(replace)

    def close(self) -> None:
        self._pool.close()

    # --- connections ----------------------------------------------------------------

    def _records(self, name: str, *parameters: object) -> list[Recorded]:
        sql = self._sql[name]
        return self._patiently(
            lambda connection: connection.records.execute(sql, parameters).fetchall()
        )

    def _read(self, name: str, *parameters: object) -> list[tuple[Any, ...]]:
        sql = self._sql[name]
        return self._patiently(
            lambda connection: connection.rows.execute(sql, parameters).fetchall()
        )

    def _patiently(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a connection; when that breaks, again on another, until time is up.

        A connection that broke at COMMIT may have committed. `work` that appends is safe to run
        again: its command ids and the head's lock decide what the first try came to.
        """

        def once() -> T:
            with available(self._address):
                try:
                    connection = self._pool.getconn()
                except PoolClosed:
                    raise Unavailable("this log is closed") from None
                try:
                    return work(connection)
                finally:  # not `with`, which would commit again what was committed
                    self._pool.putconn(connection)

        return patiently(once, self._silent_seconds, self._pool.check)


_TYPES: Final = [
    "int4", "int8", "text", "int8", "text", "int4", "bytea", "bytea", "int8", "text", "int4",
]  # fmt: skip


_TAKEN: Final = frozenset({"events_stream_version", "events_command_id"})
"""What an append violates when another was faster, or when it is not the first with its id."""


def _configure(connection: Connection, address: str, connecting: Connecting) -> None:
    """Set up a connection whose statements look up what they are asked for by an index.

    A plan that was made while a table was small is kept while it grows, and would read all of it.
    """
    watch(connection, address, connecting)
    configure_for_store(connection)
    connection.execute("SET enable_seqscan TO off")
    connection.execute("SET jit TO off")  # what has to read a whole table looks expensive now


def _is_shared(command: Command) -> bool:
    """Tell whether a command changes what belongs to no partition."""
    return bool(command.takes or command.releases or command.keys or command.trackings)


def _now() -> int:
    return time_ns() // 1_000


def _columns(rows: Iterable[Sequence[object]], width: int) -> list[list[object]]:
    """Return rows as one array a column: one statement then carries them all."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _head(row: Sequence[Any]) -> Head:
    partition, position, state, successor = row
    return Head(partition, position, State(state), successor)
