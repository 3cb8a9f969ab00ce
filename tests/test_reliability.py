"""RELIABILITY.md names tests, and each of them is there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "RELIABILITY.md").read_text("utf-8")
NAMED = re.findall(r"`(test_\w+)`", PAGE)
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ")]


def test_every_test_that_is_named_exists() -> None:
    code = "\n".join(path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))

    assert len(NAMED) > 30
    assert [name for name in NAMED if name not in there] == []


def test_every_promise_names_a_test() -> None:
    promises = [row for row in ROWS if row.count(" | ") == 2][2:]

    assert len(promises) > 15
    assert [row for row in promises if "`test_" not in row] == []


def test_every_fault_is_counted() -> None:
    faults = [row.strip("| ").split(" | ") for row in ROWS if row.count(" | ") == 1][2:]

    assert len(faults) > 15
    assert all(int(times.replace(" ", "")) > 0 for _, times in faults)
