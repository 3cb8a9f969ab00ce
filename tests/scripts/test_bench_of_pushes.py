"""`refold bench`: the rows about pushes of git-proxy, and that they see what is wrong."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest

from refold.infrastructure.commands import run
from refold.infrastructure.legacy.git_proxy.importing import import_git_proxy
from refold.scripts.measure import imports, listings, pushes
from refold.scripts.measure.pushes import Engine
from refold.scripts.measure.site import Site

ROWS = (
    "import-pushes-sqlite",
    "import-pushes-postgres",
    "import-whole-pushes-sqlite",
    "import-whole-pushes-postgres",
    "list-pushes-sqlite",
    "list-pushes-postgres",
)
FEW = 200


def test_pushes_are_imported_and_listed_as_they_were_made(postgres: str, tmp_path: Path) -> None:
    chosen = [argument for name in ROWS for argument in ("--rows", name)]
    program = "from refold.scripts.cli import main; main()"
    arguments = ("--quick", "--events", str(5 * FEW), "--postgres", postgres, "--json", *chosen)

    ran = subprocess.run(
        [sys.executable, "-c", program, "bench", *arguments],
        cwd=tmp_path,
        env=dict(os.environ),
        capture_output=True,
        text=True,
    )

    assert ran.returncode == 0, ran.stderr
    rows = {row["name"]: row for row in json.loads(ran.stdout)["rows"]}
    assert {name: row["unit"] for name, row in rows.items()} == dict(
        zip(ROWS, (*["records/s"] * 4, "ms", "ms"), strict=True)
    )
    for name, row in rows.items():
        assert row["differences"] == []
        assert row["median"] > 0
        assert (FEW // 2 if "whole" in name else FEW) in row["figures"].values()


def test_pushes_are_made_the_same_again_and_about_as_small_as_they_say(tmp_path: Path) -> None:
    path = tmp_path / "pushes.db"

    pushes.write_pushes_db(path, FEW)

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    documents = [{k: v for k, v in line.items() if k != "_id"} for line in lines]
    assert documents == list(islice(pushes.documents(), FEW))
    assert len({line["_id"] for line in lines}) == len({line["id"] for line in lines}) == FEW
    assert 1_000 <= path.stat().st_size / FEW <= 1_400


def test_whole_pushes_have_all_their_steps_and_no_string_that_is_cut_out(tmp_path: Path) -> None:
    path = tmp_path / "pushes.db"

    pushes.write_pushes_db(path, FEW, whole=True)

    lines = [json.loads(line) for line in path.read_text().splitlines()]
    steps = [[step["stepName"] for step in line["steps"]] for line in lines]
    assert steps == [[*pushes.STEPS, "checkIfWaitingAuth"]] * FEW
    assert max(len(step["content"] or "") for line in lines for step in line["steps"]) < 8 * 1024
    assert 8_000 <= path.stat().st_size / FEW <= 10_000


@pytest.fixture
def imported(site: Site) -> Iterator[Engine]:
    """A store with a few pushes."""
    path = site.folder / "pushes.db"
    pushes.write_pushes_db(path, FEW)
    with pushes.in_sqlite(site) as engine:
        import_git_proxy(engine.store, [path])
        yield engine


@pytest.fixture
def site(postgres: str, tmp_path: Path) -> Iterator[Site]:
    """A place with room for SQLite files."""
    with ExitStack() as lasting:
        yield Site(postgres, tmp_path, tmp_path, 5 * FEW, True, lambda *_: None, lasting)


def test_pushes_that_are_missing_or_others_are_seen(imported: Engine) -> None:
    assert imports.differences(imported, FEW) == []

    first = next(pushes.documents()) | {"error": True, "branch": "another"}
    run(imported.store, "push.record", {"document": first}, command_id="1", actor="ada")

    assert imports.differences(imported, FEW) == ["the first push is not as it was imported"]
    assert imports.differences(imported, FEW + 1) == [
        f"the table has {FEW} rows instead of {FEW + 1}",
        "the newest pushes are not those that were imported",
        "the first push is not as it was imported",
    ]


def test_a_listing_that_is_not_the_plain_one_is_seen(imported: Engine) -> None:
    query = listings.QUERIES["rejected"]
    wrong = imported._replace(select=lambda sql: imported.select(sql)[1:])

    assert listings.is_same(imported, query)
    assert not listings.is_same(wrong, query)
    assert not listings.is_same(imported, {**query, "canceled": True})  # there are none


def test_the_reference_keeps_the_same_rows_with_the_same_indexes(imported: Engine) -> None:
    imported.copy()

    for table in ("events", "pushes_1"):
        [(rows,)] = imported.select(f"SELECT count(*) FROM main.{table}")
        [(indexes,)] = imported.select(
            f"SELECT count(*) FROM main.sqlite_master WHERE type = 'index' AND tbl_name = '{table}'"
        )
        assert rows == FEW
        assert indexes >= 2
