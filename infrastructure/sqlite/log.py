"""The log in a SQLite file."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from threading import Lock
from time import time_ns
from typing import Any, Final, TypeVar

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
from refold.infrastructure import lots
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
from refold.infrastructure.sqlite import guards
from refold.infrastructure.sqlite.connection import available, connect, immediate
from refold.infrastructure.statements import statements

_SQL: Final = {name: sql.decode() for name, sql in statements(__package__ or "").items()}

_OPEN: Final = State.OPEN.value

WRITER_CACHE: Final = 32_000
"""Kilobytes of pages that the writer holds: it puts keys into all parts of the indexes."""

_TAKEN: Final = {"SQLITE_CONSTRAINT_TRIGGER", "SQLITE_CONSTRAINT_UNIQUE"}
"""What an event violates whose position is free, but not its version or its command's id."""

T = TypeVar("T")


class SqliteLog:
    """A `Log` in one file; safe for many threads and processes, one of them writing at a time.

    Reads go through a connection of their own, so that they never wait for a commit.
    """

    def __init__(self, path: Path) -> None:
        """Open the log at `path`, whose schema is up to date. Raises `Unavailable`."""
        self._path = path
        self._writing, self._reading = Lock(), Lock()
        self._writer: sqlite3.Connection | None = connect(path, WRITER_CACHE)
        self._reader = connect(path)
        try:
            self._partitions = len(self.heads())
        except BaseException:
            self.close()
            raise

    @property
    def partitions(self) -> int:
        return self._partitions

    def append(self, commands: Sequence[Command]) -> list[Outcome]:
        if self._partitions == 1:
            return by_partition(commands, 1, self._append_to)

        def write(writer: sqlite3.Connection) -> list[Outcome]:
            return by_partition(commands, self._partitions, partial(self._append, writer))

        return self._write(write)  # one commit for all partitions

    def _append_to(self, partition: int, commands: Sequence[Command]) -> list[Outcome]:
        batch = exact(commands)
        if batch and not batch.trackings:
            with suppress(sqlite3.IntegrityError):  # another was faster, or has the command's id
                position = self._write(lambda writer: _append_exact(writer, partition, batch))
                if position is not None:
                    return outcomes(commands, partition, position)
        return self._write(lambda writer: self._append(writer, partition, commands))

    def _append(
        self, writer: sqlite3.Connection, partition: int, commands: Sequence[Command]
    ) -> list[Outcome]:
        result = sort(commands, _facts(writer, partition, commands), time_ns() // 1_000)
        writer.executemany(_SQL["append_event"], result.records)
        writer.executemany(_SQL["release_claim"], result.released)
        writer.executemany(_SQL["take_claim"], result.taken)
        writer.executemany(_SQL["merge_key"], result.keys)
        writer.executemany(_SQL["keep_tracking"], result.trackings)
        return result.outcomes

    def stream(self, stream: str, after: int = 0) -> list[Recorded]:
        return self._records("read_stream", stream, after)

    def history(self, stream: str) -> History:
        return History(*zip(*self._read("read_history", stream), strict=True))

    def family(self, family: str) -> list[Recorded]:
        return self._records("read_family", family)

    def page(self, partition: int, after: int, limit: int) -> list[Recorded]:
        with self._reading, available(self._path):
            rows = self._reader.execute(_SQL["read_page"], (partition, after, limit))
            with closing(rows):  # it may have more, and hold their snapshot
                return lots.page(map(lots.record, rows))

    def outcome(self, command_id: str) -> Appended | None:
        for _, *place, _ in self._read("read_commands", json.dumps([command_id])):
            return Appended(*self._read("read_command_end", *place)[0])._replace(again=True)
        return None

    def holder(self, kind: str, value: str) -> str | None:
        return next((stream for (stream,) in self._read("read_claim", kind, value)), None)

    def streams(self, streams: Collection[str]) -> list[Recorded]:
        return self._records("read_streams", json.dumps(list(streams)))

    def holders(self, claims: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        with self._reading, available(self._path):
            return {
                claim: stream
                for claim in claims
                for (stream,) in self._reader.execute(_SQL["read_claim"], claim)
            }

    def tracked(self, application: str) -> Tracked | None:
        rows = self._read("read_trackings", json.dumps([application]))
        return next(map(Tracked._make, rows), None)

    def keep_snapshots(self, snapshots: Sequence[Snapshot]) -> bool:
        tried = False

        def keep(writer: sqlite3.Connection) -> None:
            nonlocal tried
            if tried and all(_has(writer, each) for each in snapshots):
                return  # it was done before the error
            tried = True
            writer.executemany(_SQL["keep_snapshot"], snapshots)

        with suppress(sqlite3.IntegrityError):  # of one version there is one
            self._write(keep)
            return True
        return False

    def snapshots(self, stream: str, after: int, until: int, limit: int) -> list[Snapshot]:
        return list(map(Snapshot._make, self._read("read_snapshots", stream, after, until, limit)))

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

        def change(writer: sqlite3.Connection) -> list[Head]:
            nonlocal asked
            heads = list(map(_head, writer.execute(_SQL["read_heads"])))
            if not asked or not is_in(heads, state, successor):
                check_state(heads, expected, at)  # else it was done before the error
            asked = True
            if state is State.OPEN:
                guards.create_indexes(writer)
            writer.execute(_SQL["change_state"], (state.value, successor))
            if log_id is not None:
                writer.execute(_SQL["change_log_id"], (log_id,))
            return [_head(row) for row in writer.execute(_SQL["read_heads"])]

        return self._write(change)

    def seals(self, partition: int) -> list[Seal]:
        return [Seal(*row) for row in self._read("read_seals", partition)]

    def add_seals(self, seals: Sequence[Seal]) -> None:
        rows = [(seal.partition, seal.position, seal.chain) for seal in seals]
        if rows:
            self._write(lambda writer: writer.executemany(_SQL["add_seal"], rows))

    def keys(self, subjects: Sequence[str] | None = None) -> list[Key]:
        wanted = None if subjects is None else json.dumps(list(subjects))
        return [Key(*row) for row in self._read("read_keys", wanted)]

    def merge_keys(self, keys: Sequence[Key]) -> None:
        if keys:
            self._write(lambda writer: writer.executemany(_SQL["merge_key"], keys))

    def receive(self, records: Sequence[Recorded]) -> None:
        def write(writer: sqlite3.Connection) -> None:
            heads = {
                head.partition: head for head in map(_head, writer.execute(_SQL["read_heads"]))
            }
            for first in records[:1]:
                head = heads[first.partition]
                place = (head.partition, head.position - 1, 1)
                last = writer.execute(_SQL["read_page"], place).fetchone()
                if is_received(records, head, last and Recorded(*last)):
                    return
                check_following(records, head)
            if records and not any(head.position for head in heads.values()):
                guards.leave_out_indexes(writer)
            writer.executemany(_SQL["append_event"], records)

        try:
            self._write(write)
        except sqlite3.IntegrityError as error:
            if error.sqlite_errorname not in _TAKEN:
                raise
            raise taken(records) from error

    def create_indexes(self) -> None:
        with self._reading, available(self._path):
            are_left_out = guards.are_left_out(self._reader)
        if are_left_out:
            self._write(guards.create_indexes)

    def claims(self) -> Beside:
        def read(writer: sqlite3.Connection) -> Beside:
            return Beside(
                [_head(row) for row in writer.execute(_SQL["read_heads"])],
                [Claim(*row) for row in writer.execute(_SQL["read_claims"])],
                [Tracked(*row) for row in writer.execute(_SQL["read_trackings"], (None,))],
            )

        return self._write(read)

    def replace_claims(
        self, claims: Sequence[Claim], trackings: Sequence[Tracked], positions: Positions
    ) -> bool:
        def replace(writer: sqlite3.Connection) -> bool:
            if not ends_at(map(_head, writer.execute(_SQL["read_heads"])), positions):
                return False
            before = {Claim(*row) for row in writer.execute(_SQL["read_claims"])}
            writer.executemany(_SQL["release_claim"], before.difference(claims))
            writer.executemany(_SQL["take_claim"], set(claims) - before)
            writer.execute(_SQL["forget_trackings"])
            writer.executemany(_SQL["keep_tracking"], trackings)
            return True

        return self._write(replace)

    def close(self) -> None:
        with self._writing, self._reading:  # closed beneath a thread, SQLite ends the process
            if self._writer:
                self._writer.close()
            self._reader.close()

    # --- connections ----------------------------------------------------------------

    def _records(self, name: str, *parameters: object) -> list[Recorded]:
        return list(map(lots.record, self._read(name, *parameters)))

    def _read(self, name: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._reading, available(self._path):
            return self._reader.execute(_SQL[name], parameters).fetchall()

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction; after an I/O error, once more on a fresh connection.

        A commit that failed may be there after all, or be lost later, if the old connection goes
        on. `work` decides by command ids, so running it again gives the first outcome.
        """
        with self._writing, available(self._path):
            try:
                return self._try(work)
            except sqlite3.OperationalError as error:
                if not _is_poison(error):
                    raise
            return self._try(work)

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction; a connection that had an I/O error is not used again."""
        writer = self._writer = self._writer or connect(self._path, WRITER_CACHE)
        try:
            with immediate(writer):
                return work(writer)
        except BaseException as error:
            self._writer = None
            if writer.in_transaction:  # a signal came before `immediate` could end it
                writer.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError) and _is_poison(error):
                writer.close()
            else:
                self._writer = writer
            raise


def _is_poison(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorname.startswith(("SQLITE_IOERR", "SQLITE_FULL"))


def _append_exact(writer: sqlite3.Connection, partition: int, batch: Exact) -> int | None:
    """Return the position before the first event; None where the batch has to be sorted."""
    _, last, state, _, recorded_at = writer.execute(_SQL["read_last"], (partition,)).fetchone()
    if state != _OPEN:
        return None
    if batch.guards:
        [found] = writer.execute(_SQL["count_guards"], (json.dumps(batch.guards),)).fetchone()
        if found != len(batch.guards):
            return None
    now = max(recorded_at, time_ns() // 1_000)
    writer.executemany(
        _SQL["append_exact"],
        [(partition, position, now, *event) for position, event in enumerate(batch.rows, last + 1)],
    )
    return int(last)


def _facts(writer: sqlite3.Connection, partition: int, commands: Sequence[Command]) -> Facts:
    *head, recorded_at = writer.execute(_SQL["read_last"], (partition,)).fetchone()
    facts = Facts(_head(head), recorded_at)

    def read(name: str, wanted: Iterable[str]) -> sqlite3.Cursor:
        return writer.execute(_SQL[name], (json.dumps(list(wanted)),))

    for id, *place, stream in read("read_commands", (command.id for command in commands)):
        end = writer.execute(_SQL["read_command_end"], place).fetchone()
        facts.commands[id] = Known(stream, Appended(*end))
    if facts.head.state is State.OPEN:  # else they decide nothing, and there may be no index
        written = {write.stream for command in commands for write in command.writes}
        facts.versions.update(read("read_versions", written))
    for command in commands:
        for claim in (*command.takes, *command.releases):
            key = (claim.kind, claim.value)
            holder = writer.execute(_SQL["read_claim"], key).fetchone()
            if holder:
                facts.claims[key] = holder[0]
    if subjects := [key.subject for command in commands for key in command.keys]:
        facts.keys.update((row[0], Key(*row)) for row in read("read_keys", subjects))
    if applications := [each.application for command in commands for each in command.trackings]:
        tracked = read("read_trackings", applications)
        facts.trackings.update((row[0], Tracked(*row)) for row in tracked)
    return facts


def _has(writer: sqlite3.Connection, snapshot: Snapshot) -> bool:
    stream, version = snapshot.stream, snapshot.version
    found = writer.execute(_SQL["read_snapshots"], (stream, version - 1, version, 1)).fetchone()
    return bool(found == snapshot)


def _head(row: Sequence[Any]) -> Head:
    partition, position, state, successor = row
    return Head(partition, position, State(state), successor)
