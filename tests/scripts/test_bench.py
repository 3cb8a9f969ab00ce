"""`refold bench`: what it prints, and that nothing wrong counts as fast."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from refold.domain.errors import Unavailable
from refold.scripts import bench as scripts_bench
from refold.scripts.measure import growth, raw, report
from refold.scripts.measure.row import Goal, Measured, Peer, Result, Row, paired
from refold.scripts.measure.site import Site
from refold.tests.scripts.conftest import Refold


def test_rows_are_measured_against_references_and_written_with_the_machine(
    postgres: str, tmp_path: Path
) -> None:
    names = [
        *("append-1", "append-8-async", "append-8-processes", "latency-own-writes", "application"),
        *("application-sqlite", "load-100-sqlite", "replay", "live", "live-sql", "diff"),
        *("diff-sqlite", "copy", "copy-sqlite", "move-pause", "import", "search-postgresql"),
        *("explain-sqlite", "size", "size-sqlite"),
    ]
    rows = [argument for name in names for argument in ("--rows", name)]

    ran = bench(
        tmp_path,
        *("--quick", "--events", "2000", "--postgres", postgres, "--json", "--out", "results"),
        *rows,
    )

    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert set(document) == {
        *("date", "commit", "machine", "versions", "quick", "events", "rows", "failed"),
        "seconds",
    }
    assert document["failed"] == {}
    assert document["machine"]["cores"] >= 1
    assert set(document["versions"]) == {"python", "sqlite", "postgresql"}
    assert [row["name"] for row in document["rows"]] == names
    for row in document["rows"]:
        assert set(row) == {
            *("name", "what", "unit", "median", "range", "rounds", "peers", "goal", "reached"),
            *("correct", "differences", "figures", "seconds"),
        }
        assert row["correct"]
        assert row["rounds"] == ROUNDS.get(row["name"], 2)
        assert 0 < row["range"][0] <= row["median"] <= row["range"][1]
    peers = {row["name"] for row in document["rows"] if "eventsourcing" in row["peers"]}
    assert peers == {"append-1", "replay", "live-sql"}
    assert json.loads((tmp_path / "results" / "bench.json").read_text()) == document
    assert (tmp_path / "results" / "bench.md").read_text() == report.markdown(document)
    assert (tmp_path / "results" / "bench.png").read_bytes().startswith(b"\x89PNG\r\n")


ROUNDS = {"import": 1, "size": 1, "size-sqlite": 1, "move-pause": 4}


def test_costs_in_logs_of_several_lengths_are_compared(postgres: str, tmp_path: Path) -> None:
    lengths = ("--lengths", "1000", "--lengths", "2000")
    rows = ("--rows", "growth-*-sqlite")

    ran = bench(tmp_path, "--quick", *lengths, "--postgres", postgres, "--json", *rows)

    assert ran.returncode == 0, ran.stderr
    found = {row["name"]: row for row in json.loads(ran.stdout)["rows"]}
    operations = ("load", "search", "list", "explain", "append", "memory")
    assert found.keys() == {f"growth-{each}-sqlite" for each in operations}
    for name, row in found.items():
        assert row["correct"]
        assert row["figures"].pop("files were in memory", None) is (
            None if "memory" in name else True
        )
        assert len(row["figures"]) == 2
        assert all(figure > 0 for figure in row["figures"].values())


@pytest.mark.parametrize(
    ("error", "rows", "why"),
    [
        (ValueError("no room"), ["fine", "also fine"], "ValueError: no room"),
        (KeyboardInterrupt(), ["fine"], "it was interrupted"),
    ],
)
def test_a_row_that_cannot_be_measured_takes_no_other_with_it(
    error: BaseException,
    rows: list[str],
    why: str,
    refold: Refold,
    postgres: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(_: Site) -> Measured:
        raise error

    def fine(_: Site) -> Measured:
        return Measured([1.0])

    goal = Goal("at least", 1)
    named = {"fine": fine, "broken": broken, "also fine": fine}
    every = [Row(name, name, goal, measure) for name, measure in named.items()]
    monkeypatch.setattr(scripts_bench, "DEFAULT", every)

    ran = refold("bench", "--quick", "--postgres", postgres, "--json")

    assert ran.code == 1
    assert [row["name"] for row in ran.json["rows"]] == rows
    assert ran.json["failed"] == {"broken": why}


def test_a_server_elsewhere_is_measured_with_verified_tls_alone(refold: Refold) -> None:
    ran = refold("bench", "--quick", "--postgres", "postgresql://192.0.2.1/postgres")

    assert ran.code == 1
    assert ran.sentence.startswith("PostgreSQL at 192.0.2.1 is not on this machine")


def test_a_row_that_does_not_exist_is_a_usage_error(tmp_path: Path) -> None:
    ran = bench(tmp_path, "--rows", "everything")

    assert ran.returncode == 2
    assert "append-100" in ran.stderr


def test_a_plot_that_cannot_be_drawn_is_refused_before_anything_is_measured(
    refold: Refold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # as if it were not installed

    ran = refold("bench", "--out", "results")

    assert ran.code == 1
    assert "matplotlib" in ran.sentence
    assert not Path("results").exists()


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


def test_sides_take_turns_and_a_slow_peer_has_fewer_rounds(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("refold.scripts.measure.row.PEER_SECONDS", 0.0)
    turns: list[str] = []

    def side(name: str, rate: float) -> Callable[[], float]:
        return lambda: turns.append(name) or rate  # type: ignore[func-returns-value]

    peer = Peer(side("peer", 1.0), lambda: ["it lost an event"])
    measured = paired(site, side("refold", 6.0), side("reference", 2.0), "rows", {"other": peer})

    assert turns == ["refold", "reference", "peer", "reference", "refold"]
    assert measured.values == [3.0, 3.0]
    assert measured.peers == {"other": [0.5]}
    assert measured.differences == ["other: it lost an event"]
    assert measured.figures["other, rows a second"] == 1


def test_a_peer_that_cannot_do_the_work_is_told_and_the_row_goes_on(site: Site) -> None:
    def fail() -> float:
        raise Unavailable("tool failed: no such file")

    measured = paired(site, lambda: 6.0, lambda: 2.0, "rows", {"tool": Peer(fail)})

    assert measured.values == [3.0, 3.0]
    assert measured.peers == {}
    assert measured.figures["tool"] == "tool failed: no such file"
    with pytest.raises(Unavailable):
        paired(site, fail, lambda: 2.0, "rows")


def test_a_longest_log_is_compared_with_a_fiftieth_of_it(site: Site) -> None:
    ratios = growth.ratios({10: [1.0], 100: [2.0, 4.0], 1_000: [9.0], 5_000: [3.0, 5.0]})

    assert ratios == [1.5, 1.25]


def test_files_with_other_rows_or_more_of_them_are_told_apart(tmp_path: Path) -> None:
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    for path in (one, other):
        with raw.opened(path) as connection:
            connection.execute("CREATE TABLE events (position INTEGER, data BLOB)")
            connection.execute("INSERT INTO events VALUES (1, x'00'), (2, x'01')")
    assert raw.is_same(one, other, "events")

    with raw.opened(other) as connection:
        connection.execute("INSERT INTO events VALUES (3, x'02')")
    assert not raw.is_same(one, other, "events")
    with raw.opened(one) as connection:
        connection.execute("INSERT INTO events VALUES (3, x'03')")
    assert not raw.is_same(one, other, "events")


def test_a_table_of_results_says_what_was_reached() -> None:
    slow = Measured([0.41, 0.5, 0.39], peers={"other": [0.3]})
    wrong = Measured([12.0], differences=["a row is missing"])
    rows = [
        Result(row(Goal("at least", 0.5)), slow).document(),
        Result(row(Goal("at most", 20, "ms")), wrong).document(),
    ]
    versions = {"python": "3.11.2", "sqlite": "3.40.1", "postgresql": "15.18"}
    machine = {"system": "Linux", "machine": "x86_64", "processor": "", "cores": 2}
    run = {"date": "2026-01-31", "machine": machine, "versions": versions, "seconds": 61}

    table = report.markdown({**run, "events": 100_000, "rows": rows}).splitlines()

    assert table[0] == (
        "2026-01-31, 2 cores of x86_64 (Linux), Python 3.11.2, SQLite 3.40.1, PostgreSQL 15.18,"
        " logs of 100,000 events, 1 minutes:"
    )
    assert table[1:] == [
        "",
        "| row | median | range | goal | reached | others |",
        "| --- | --- | --- | --- | --- | --- |",
        "| `row` | 0.41 | 0.39 to 0.5 | ≥ 0.5 | no | other 0.3 |",
        "| `row` | 12 ms | 12 to 12 | ≤ 20 ms | WRONG |  |",
    ]


def test_a_fast_wrong_answer_reaches_no_goal() -> None:
    fast = Measured([9.0], differences=["1 rows of files differ from those of the reference"])

    result = Result(row(Goal("at least", 0.5)), fast)

    assert not result.reached
    assert not result.document()["correct"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as lasting:
        yield Site("", tmp_path, tmp_path, 1_000, True, lambda *_: None, lasting)


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
