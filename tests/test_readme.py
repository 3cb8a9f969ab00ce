"""What the README shows is run, and prints what the README says."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
README = (CHECKOUT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(.*)\n((?:.*\n)*?)```$", README, re.MULTILINE)
PYTHON = [text for language, text in BLOCKS if language == "python"]
SHELL = [
    (text, output)
    for (language, text), (_, output) in pairwise(BLOCKS)
    if language == "sh runnable"
]


def test_there_is_something_to_run() -> None:
    assert PYTHON
    assert SHELL
    assert len(PYTHON[0].splitlines()) <= 12


@pytest.mark.parametrize("block", PYTHON)
def test_python_runs(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    exec(compile(block, "README.md", "exec"), {})  # noqa: S102 - it is our own


@pytest.mark.parametrize(("block", "shown"), SHELL)
def test_a_shell_session_prints_what_is_shown(block: str, shown: str, tmp_path: Path) -> None:
    (tmp_path / "scripts").symlink_to(CHECKOUT / "scripts")
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "refold"
    command.write_text(f"#!{sys.executable}\nfrom refold.scripts.cli import main\n\nmain()\n")
    command.chmod(0o755)

    ran = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}", "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    assert ran.returncode == 0, ran.stdout
    printed = iter(ran.stdout.splitlines())
    missing = [line for line in shown.splitlines() if not found(line, printed)]
    assert missing == [], ran.stdout


def found(line: str, printed: Iterator[str]) -> bool:
    """Look for `line` further down; … stands for anything."""
    pattern = ".*?".join(map(re.escape, line.split("…")))
    return any(re.fullmatch(pattern, each.rstrip()) for each in printed)
