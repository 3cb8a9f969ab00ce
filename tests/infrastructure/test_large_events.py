"""What a process takes where events are large: pages count bytes, so it stays under a bound."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from refold.domain.ports import Command, NewEvent, Write
from refold.infrastructure.open import open_store

EVENTS: Final = 400
BYTES: Final = 500_000
MEGABYTES: Final = 260
"""The events have 200 together, and were all held at once, some twice."""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a store with large events, which make small rows."""
    url = f"sqlite:///{tmp_path_factory.mktemp('large') / 'store'}"
    document = b'{"name":"n"' + b" " * BYTES + b"}"
    event = NewEvent("file.changed", 1, document, b'{"actor":"ada"}')
    with open_store(url, create=True) as store:
        for number in range(0, EVENTS, 2):
            store.log.append([Command(f"{number}", (Write(f"file-{number}", 0, (event,) * 2),))])
    return url


def test_a_copy_is_made_in_little_memory(url: str, postgres_url: str) -> None:
    assert peak("copy", url, postgres_url) < MEGABYTES


def test_a_store_is_verified_in_little_memory(url: str) -> None:
    assert peak("verify", url) < MEGABYTES


def test_an_archive_is_written_verified_and_brought_back_in_little_memory(
    url: str, tmp_path: Path
) -> None:
    archive = f"archive:{tmp_path / 'archive'}"

    assert peak("copy", url, archive) < MEGABYTES
    assert peak("verify", archive) < MEGABYTES
    assert peak("copy", archive, f"sqlite:///{tmp_path / 'back'}") < 1.5 * MEGABYTES  # of 2.3


def test_tables_are_built_in_parts_in_little_memory(url: str) -> None:
    given = "SqliteRows.events_a_part = 100"

    assert peak("rebuild", "--store", url, "--workers", "1", given=given) < MEGABYTES


def peak(*arguments: str, given: str = "") -> float:
    """Run the command in a process of its own, and return the most megabytes that it had."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, given, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr[:2_000]
    [found] = re.findall(r"^VmHWM:\s+(\d+) kB$", run.stderr, re.MULTILINE)
    return int(found) * 1024 / 1_000_000


PROGRAM: Final = """
import atexit, pathlib, sys
from refold.infrastructure.sqlite.rows import SqliteRows
from refold.scripts.cli import main

atexit.register(lambda: sys.stderr.write(pathlib.Path("/proc/self/status").read_text()))
exec(sys.argv.pop(1))
main()
"""
