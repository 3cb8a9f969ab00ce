"""Other processes: the `refold` command, and the small programs beside this file."""

import io
import json
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import IO, Any, Final
from unittest.mock import patch

from refold.infrastructure import chain
from refold.infrastructure.folding import building, pages
from refold.infrastructure.moving import cutover, renumbering
from refold.infrastructure.postgres.rows import PostgresRows
from refold.infrastructure.sqlite.rows import SqliteRows
from refold.scripts import cli

PATIENCE: Final = 60.0
"""Seconds to wait for what takes less than one."""
SMALL_PAGE: Final = 1_000
"""Events that a process of `start_refold` reads and writes at once."""


@dataclass(frozen=True)
class Finished:
    """What a run of `refold` left behind."""

    code: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        """Return what `--json` printed."""
        return json.loads(self.stdout)


told: Final[list[str]] = []
"""What `refold` printed in this process."""


def refold(*arguments: str | Path) -> Finished:
    """Run the command line in this process."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code = 0
    with (
        patch.object(sys, "argv", ["refold", *map(str, arguments)]),
        redirect_stdout(stdout),
        redirect_stderr(stderr),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
    finished = Finished(code, stdout.getvalue(), stderr.getvalue())
    told.extend((finished.stdout, finished.stderr))
    return finished


def start_refold(*arguments: str, output: Path) -> BaseProcess:
    """Start `refold` in a process of its own; what it prints goes to the file `output`.

    It works in small pages and parts, so that there are many places where it can be killed. The
    process is forked from one that has imported everything: starting Python takes longer than most
    of what is done here.
    """
    process = _FORKS.Process(target=_refold_into, args=(output, *arguments))
    process.start()
    return process


def _refold_into(output: Path, *arguments: str) -> None:
    with pages_of(SMALL_PAGE):
        finished = refold(*arguments)
    output.write_text(finished.stdout)
    output.with_name(f"{output.name}-errors").write_text(finished.stderr)
    sys.exit(finished.code)


@contextmanager
def pages_of(events: int) -> Iterator[None]:
    """Let `refold` read and write pages and parts of so many events in this process."""
    with ExitStack() as patches:
        for owner, name in (
            (chain, "PAGE"),
            (pages, "PAGE"),
            (building, "STRETCH"),
            (cutover, "SHORT"),
            (renumbering, "PAGE"),
            (PostgresRows, "events_a_part"),
            (SqliteRows, "events_a_part"),
        ):
            patches.enter_context(patch.object(owner, name, events))
        yield


_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["pytest", __name__])


@contextmanager
def started(
    program: str, *arguments: str, output: IO[bytes] | int
) -> "Iterator[subprocess.Popen[bytes]]":
    """Run one of the programs beside this file; its stdin is a pipe, its stdout `output`."""
    module = f"refold.tests.infrastructure.faults.{program}"
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output) as process:
        try:
            yield process
        finally:
            process.kill()


def begin_together(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Wait until each has said that it is ready, then let all begin."""
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.close()


def succeed(processes: "Sequence[subprocess.Popen[bytes]]") -> None:
    """Wait until all have ended, and see that none failed."""
    for process in processes:
        assert process.wait(PATIENCE) == 0
