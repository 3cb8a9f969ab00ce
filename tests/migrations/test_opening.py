"""Stores are made once, however many ask for it, and only when they are asked for."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from refold.domain.errors import NewerSchema, NoSuchStore, OlderSchema
from refold.domain.ports import Appended, Command, Head, NewEvent, State, Write
from refold.domain.positions import Positions
from refold.infrastructure import schema
from refold.infrastructure.open import open_store

LOG_TABLES = (
    *("store", "heads", "events", "claims", "keys", "seals", "trackings", "snapshots"),
    "alembic_version",
)


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An address where no store is yet."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/store"


OPENING = """
import sys
from refold.infrastructure.open import open_store
from refold.scripts import cli

way, url = sys.argv[1:]
print("ready", flush=True)
sys.stdin.readline()
if way == "open":
    with open_store(url, create=True) as store:
        print(store.log.identity().store_id)
else:
    sys.argv = ["refold", "init", "--store", url]
    cli.main()
"""


def test_eight_processes_that_make_a_store_at_once_make_one(url: str) -> None:
    with ExitStack() as stack:
        makers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", OPENING, way, url],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            for way in ["open", "init"] * 4
        ]
        for maker in makers:
            assert maker.stdout
            assert maker.stdout.readline() == "ready\n"

        for maker in makers:
            assert maker.stdin
            maker.stdin.write("go\n")
            maker.stdin.flush()
        said = [maker.communicate() for maker in makers]

    assert [
        (maker.returncode, stderr) for maker, (_, stderr) in zip(makers, said, strict=True)
    ] == [(0, "")] * 8
    [(id, store_id, _)] = rows(url)["store"]
    assert id == 1
    assert all(store_id in stdout for stdout, _ in said)
    assert rows(url)["heads"] == [(0, "open", None)]
    assert rows(url)["alembic_version"] == [(schema.NEWEST,)]


def test_making_a_store_again_changes_nothing(url: str) -> None:
    with open_store(url, create=True) as store:
        identity = store.log.identity()
        fill(store.log.append)
        store.log.change_state(State.SEALED, successor="elsewhere")
    before = rows(url)

    for _ in range(2):
        with open_store(url, create=True) as again:
            assert again.log.identity() == identity
            assert again.log.heads() == [Head(0, 2, State.SEALED, "elsewhere")]

    assert rows(url) == before
    assert len(before["events"]) == 2


@pytest.mark.parametrize("create", [False, True], ids=["open", "create"])
def test_a_store_of_a_newer_refold_is_refused_and_left_as_it_is(url: str, create: bool) -> None:
    with open_store(url, create=True) as store:
        fill(store.log.append)
    execute(url, "UPDATE {}alembic_version SET version_num = '9999'")
    before = rows(url)

    with pytest.raises(NewerSchema) as refusal:
        open_store(url, create=create)

    assert (refusal.value.found, refusal.value.known) == ("9999", schema.NEWEST)
    assert rows(url) == before
    assert before["alembic_version"] == [("9999",)]


def test_a_store_of_an_older_refold_is_not_opened_before_it_is_brought_up_to_date(
    url: str,
) -> None:
    open_store(url, create=True).close()
    execute(url, "UPDATE {}alembic_version SET version_num = '0000'")

    with pytest.raises(OlderSchema, match="refold init") as refusal:
        open_store(url)

    assert (refusal.value.found, refusal.value.known) == ("0000", schema.NEWEST)


def test_where_no_store_is_none_is_made_unasked(url: str, tmp_path: Path) -> None:
    with pytest.raises(NoSuchStore, match="refold init"):
        open_store(url)

    assert list(tmp_path.iterdir()) == []
    if url.startswith("postgres"):
        with psycopg.connect(url) as connection:
            found = connection.execute("SELECT to_regnamespace('refold')").fetchall()
        assert found == [(None,)]


def test_a_file_that_holds_no_store_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()

    with pytest.raises(NoSuchStore):
        open_store(f"sqlite:///{tmp_path}/empty")

    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_two_stores_in_two_schemas_of_a_database_do_not_mix(postgres_url: str) -> None:
    with (
        open_store(postgres_url, create=True) as one,
        open_store(f"{postgres_url}?schema=other", create=True) as other,
    ):
        fill(other.log.append)

        assert one.log.identity() != other.log.identity()
        assert one.log.heads()[0].position == 0
        assert other.folder.catch_up() == Positions((2,))
        assert one.folder.catch_up() == Positions((0,))


# --- looking past refold ----------------------------------------------------------------


def fill(append: Callable[[list[Command]], list[Any]]) -> None:
    event = NewEvent("sample.made", 1, b"{}", b"{}")
    [outcome] = append([Command("1", (Write("sample-ada", 0, (event, event)),))])
    assert isinstance(outcome, Appended)


def rows(url: str) -> dict[str, list[Any]]:
    return {name: execute(url, f"SELECT * FROM {{}}{name}") for name in LOG_TABLES}


def execute(url: str, statement: str) -> list[Any]:
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            return file.execute(statement.format("")).fetchall()
    with psycopg.connect(url) as connection:
        cursor = connection.execute(statement.format("refold.").encode())
        return cursor.fetchall() if cursor.description else []
