"""The `refold` command as a shell starts it: what it was left to read from and write to."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from refold.tests.scripts.conftest import Refold

STORE: Final = "sqlite:///store.db"
PROGRAM: Final = (sys.executable, "-c", "from refold.scripts.console import main; main()")


@pytest.fixture(autouse=True)
def store(refold: Refold) -> None:
    assert refold("init", "--store", STORE).code == 0


def started(
    folder: Path, redirected: str, *arguments: str, program: tuple[str, ...] = PROGRAM
) -> subprocess.CompletedProcess[str]:
    """What came of a command whose streams a shell has redirected."""
    command = [*program, *arguments, "--store", STORE]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *command],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    "arguments", [("status",), ("status", "--json"), ("export", "csv", "users")]
)
def test_a_full_disk_behind_stdout_is_one_sentence(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    ran = started(tmp_path, ">/dev/full", *arguments)

    assert ran.returncode == 1
    assert ran.stderr == "refold: stdout cannot be written: No space left on device\n"


def test_nothing_is_done_where_nobody_could_be_told(tmp_path: Path) -> None:
    (tmp_path / "store.db").unlink()

    ran = started(tmp_path, ">&-", "init")

    assert (ran.returncode, ran.stderr) == (1, "refold: stdout is closed\n")
    assert not (tmp_path / "store.db").exists()


@pytest.mark.parametrize(
    "arguments", [("command", "file.unban"), ("command", "--lines"), ("show", "session", "-")]
)
def test_a_closed_stdin_is_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = started(tmp_path, "<&-", *arguments)

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == "refold: stdin is closed\n"


INTERRUPTED: Final = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "refold.scripts.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from refold.scripts.console import main
main()
"""


def test_who_interrupts_the_command_while_it_is_loaded_sees_no_traceback(tmp_path: Path) -> None:
    ran = started(tmp_path, "", "status", program=(sys.executable, "-c", INTERRUPTED))

    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "")


def test_what_is_to_be_ignored_is_ignored_while_it_is_loaded(tmp_path: Path) -> None:
    ignoring = ("sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, "-c", INTERRUPTED)

    ran = started(tmp_path, "", "status", program=ignoring)

    assert (ran.returncode, ran.stderr) == (0, "")


def test_the_command_that_is_installed_is_this_one() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")

    assert 'refold = "refold.scripts.console:main"' in project
