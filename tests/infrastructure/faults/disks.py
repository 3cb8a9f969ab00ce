"""Disks that fail: the n-th call of a process answered by an error, and disks that are full.

Calls are answered by strace: where that is not installed, the tests are skipped and say so.
"""

import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from refold.tests.infrastructure.faults.forks import Forked, wait
from refold.tests.infrastructure.faults.processes import PATIENCE

FLUSHES: Final = "fsync,fdatasync"
WRITES: Final = "pwrite64"


def run_failing(process: Forked, calls: str, nth: int, folder: Path) -> int:
    """Let a process that waits in `when_told` go on to its end, with its `nth` of `calls` failing.

    The error is EIO. Returns how many failed: 0 or 1.
    """
    process.wait_until_stopped()
    notes = folder / "traced"
    strace = shutil.which("strace")
    if not strace:
        pytest.skip("strace, which answers calls with errors, is not installed here")
    command = [
        *(strace, "-f", "-q", "-o", str(notes), "-p", str(process.pid), "-e", f"trace={calls}"),
        *("-e", f"inject={calls}:error=EIO:when={nth}"),
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
        wait(lambda: process.tracer or tracer.poll() is not None)
        assert tracer.poll() is None, tracer.stderr and tracer.stderr.read()
        process.go_on()
        process.ended()
        tracer.wait(PATIENCE)
    return len(re.findall(r"EIO .*\(INJECTED\)$", notes.read_text(), re.MULTILINE))


@contextmanager
def small_disk(place: Path, size: str) -> Iterator[Callable[[str], None]]:
    """Make the folder `place` a disk of its own of that size; yields what gives it another one.

    Where that is not permitted the test is skipped, and says so: such a test has a twin that works
    everywhere, with `resource.RLIMIT_FSIZE`.
    """
    place.mkdir(exist_ok=True)
    made = _mount("-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(place))
    if made.returncode:
        pytest.skip(f"mounting a small disk is not permitted here: {made.stderr.strip()}")
    try:
        yield lambda size: _mount("-o", f"remount,size={size}", str(place)).check_returncode()
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def _mount(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["mount", *arguments], capture_output=True, text=True)


def with_small_files(size: int, work: Callable[..., None], *arguments: object) -> None:
    """Do `work` while no file may grow beyond `size` bytes: a write there fails by EFBIG."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    work(*arguments)
