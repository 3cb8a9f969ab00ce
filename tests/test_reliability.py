"""RELIABILITY.md names tests, and each of them is there."""

import re
from pathlib import Path

import pytest

from refold.tests.infrastructure.faults.counting import FIXED, main

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
    code = "\n".join(path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))
    recorded = set(re.findall(r'^ +record_property\("(.*)", ', code, re.MULTILINE))
    known = recorded | {fault for fault, _ in FIXED.values()}
    assert known - {fault for fault, _ in faults} == set()


def test_every_test_that_is_counted_exists() -> None:
    code = "\n".join(path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))

    assert {name for name in FIXED if f"def {name}(" not in code} == set()


def test_what_failed_is_not_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, (fault, times) = next(iter(FIXED.items()))
    recorded = '<properties><property name="recorded" value="7"/></properties>'
    for number, outcome in enumerate(("", "<failure/>", "<error/>", "<skipped/>")):
        cases = "".join(
            f'<testcase name="{each}">{recorded}{outcome}</testcase>'
            for each in (f"{name}[sqlite]", "test_another")
        )
        (tmp_path / f"{number}.xml").write_text(f"<testsuites>{cases}</testsuites>")

    main(*map(str, tmp_path.iterdir()))

    table = ["| fault | times |", "| --- | --- |", f"| {fault} | {times} |", "| recorded | 14 |"]
    assert capsys.readouterr().out.splitlines() == table
