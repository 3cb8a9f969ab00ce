"""`refold bench`: what it prints, and that nothing wrong counts as fast."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from refold.scripts.measure.row import Goal, Measured, Result, Row
from refold.scripts.measure.site import Site


def test_rows_are_measured_against_references_and_printed_with_the_machine(
    postgres: str, tmp_path: Path
) -> None:
    names = [
        *("append-1", "append-100", "application", "application-sqlite", "load-100-sqlite"),
        *("replay", "rebuild", "live", "diff"),
        *("diff-sqlite", "import", "search-sqlite", "search-postgresql", "explain-sqlite"),
    ]
    rows = [argument for name in names for argument in ("--rows", name)]

    ran = bench(tmp_path, "--quick", "--events", "2000", "--postgres", postgres, "--json", *rows)

    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert set(document) == {
        *("commit", "machine", "versions", "quick", "events", "rows", "seconds"),
    }
    assert document["machine"]["cores"] >= 1
    assert set(document["versions"]) == {"python", "sqlite", "postgresql"}
    assert [row["name"] for row in document["rows"]] == names
    assert [row["rounds"] for row in document["rows"]] == [
        3 if name != "import" else 1 for name in names
    ]
    for row in document["rows"]:
        assert set(row) == {
            *("name", "what", "unit", "median", "range", "rounds", "goal", "reached"),
            *("correct", "differences", "figures"),
        }
        assert row["correct"]
        assert 0 < row["range"][0] <= row["median"] <= row["range"][1]


def test_a_row_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    ran = bench(tmp_path, "--rows", "everything")

    assert ran.returncode == 2
    assert "append-100" in ran.stderr


@pytest.mark.parametrize(
    ("goal", "values", "reached"),
    [
        (Goal("at least", 0.5), [0.4, 0.5, 9.0], True),
        (Goal("at least", 0.5), [0.4, 0.49, 9.0], False),
        (Goal("at most", 30, "seconds"), [30.0, 29.0, 31.0], True),
        (Goal("at most", 30, "seconds"), [30.1, 30.2, 1.0], False),
    ],
)
def test_the_median_decides_whether_a_goal_is_reached(
    goal: Goal, values: list[float], reached: bool
) -> None:
    result = Result(row(goal), Measured(values))

    assert result.reached is result.document()["reached"] is reached


def test_a_fast_wrong_answer_reaches_no_goal() -> None:
    fast = Measured([9.0], differences=["1 rows of files differ from those of the reference"])

    result = Result(row(Goal("at least", 0.5)), fast)

    assert not result.reached
    assert not result.document()["correct"]


def row(goal: Goal) -> Row:
    return Row("row", "What is compared.", goal, measure_nothing)


def measure_nothing(site: Site) -> Measured:
    return Measured()


def bench(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = "from refold.scripts.cli import main; main()"
    environment = {**os.environ, "COLUMNS": "300"}
    return subprocess.run(
        [sys.executable, "-c", program, "bench", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
