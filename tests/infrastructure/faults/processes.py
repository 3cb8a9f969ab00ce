"""Other processes: the `refold` command, and the small programs beside this file."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from unittest.mock import patch

from refold.scripts import cli

PATIENCE = 60.0
"""Seconds to wait for what takes less than one."""


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
    return Finished(code, stdout.getvalue(), stderr.getvalue())


def start_refold(*arguments: str | Path) -> "subprocess.Popen[bytes]":
    """Start the `refold` command in a process of its own."""
    command = Path(sys.executable).with_name("refold")
    return subprocess.Popen([command, *arguments], stdout=subprocess.DEVNULL)


def start(program: str, *arguments: str, output: IO[bytes] | int) -> "subprocess.Popen[bytes]":
    """Start one of the programs beside this file; its stdin is a pipe, its stdout `output`."""
    module = f"refold.tests.infrastructure.faults.{program}"
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output)


def begin_together(processes: "list[subprocess.Popen[bytes]]") -> None:
    """Wait until each has said that it is ready, then let all begin."""
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.close()


def succeed(processes: "list[subprocess.Popen[bytes]]") -> None:
    """Wait until all have ended, and see that none failed."""
    try:
        assert [process.wait(PATIENCE) for process in processes] == [0] * len(processes)
    finally:
        for process in processes:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()
