"""A thread that is interrupted while it writes to a SQLite file leaves no transaction open."""

import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from refold.domain.ports import Appended, Claim, Command, NewEvent, Write
from refold.infrastructure.address import Sqlite
from refold.infrastructure.open import open_log
from refold.infrastructure.sqlite import connection
from refold.infrastructure.sqlite import log as sqlite_log
from refold.tests.interrupting import Interrupted, interrupted


@pytest.mark.parametrize("claims", [False, True], ids=["exact", "with a claim"])
def test_an_append_that_is_interrupted_anywhere_keeps_nobody_from_writing(
    tmp_path: Path, claims: bool
) -> None:
    path = tmp_path / "store.db"
    points = 0
    with (
        closing(open_log(Sqlite(path), create=True)) as log,
        closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as other,
    ):
        for at in count(1):
            mine = [command(f"{at}", claims=claims)]
            try:
                interrupted(lambda: log.append(mine), at, sqlite_log, connection)  # noqa: B023
            except Interrupted:
                points = at
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
            outcomes = log.append([*mine, command(f"{at} later", claims=False)])

            assert all(isinstance(each, Appended) for each in outcomes)
            if points < at:
                break
    assert points > 10


def command(id: str, *, claims: bool) -> Command:
    stream = f"user-{id}"
    write = Write(stream, 0, (NewEvent("user.changed", 1, b"{}", b"{}"),))
    return Command(id, (write,), (Claim("name", id, stream),) if claims else ())
