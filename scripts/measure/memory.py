"""How much memory a copy and a rebuild take: `refold` as a process of its own, at its peak."""

import json
import re
import subprocess
import sys
from typing import Any, Final

from refold.scripts.measure.row import Goal, Measured, Row
from refold.scripts.measure.site import Site

MEGABYTES: Final = 500


def copy(site: Site) -> Measured:
    """Copy a SQLite store to an empty PostgreSQL one."""
    with site.database() as url:
        printed, peak = refold(site, "copy", site.sqlite, url)
    wrong = [] if printed["equal"] else ["the copy differs from its source"]
    return Measured([peak], {"events": site.events}, wrong)


def rebuild(site: Site) -> Measured:
    """Rebuild all tables of a PostgreSQL store."""
    printed, peak = refold(site, "rebuild", "--store", site.postgres)
    return Measured([peak], {"events": site.events}, differing(printed))


def differing(printed: dict[str, Any]) -> list[str]:
    """Return which tables of a rebuild, as it printed them, are not those from before."""
    return [
        f"table {table['name']} differs from the live one"
        for table in printed["tables"]
        if not table["equal_to_previous"]
    ]


def refold(site: Site, *arguments: str) -> tuple[dict[str, Any], float]:
    """Run the command, and return what it printed and the most memory a process had, in MB."""
    site.progress("refold", 0, 1)
    run = subprocess.run(  # noqa: S603 (composed here)
        [sys.executable, "-c", _PROGRAM, *arguments, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    peaks = re.findall(r"^(?:VmHWM|workers):\s+(\d+) kB$", run.stderr, re.MULTILINE)
    return json.loads(run.stdout), max(map(int, peaks)) * 1024 / 1_000_000


# The peak that a parent is told of holds what the parent itself had when it forked: of workers
# that is less than they need, of `refold` it would be what the measurement itself had.
_PROGRAM: Final = """
import atexit, pathlib, resource, sys

def peaks():
    sys.stderr.write(pathlib.Path("/proc/self/status").read_text())
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    sys.stderr.write(f"workers: {workers} kB\\n")

from refold.scripts.cli import main
atexit.register(peaks)
main()
"""


ROWS: Final = (
    Row(
        "memory-copy",
        "Peak resident memory of `refold copy` from SQLite to PostgreSQL.",
        Goal("at most", MEGABYTES, "MB"),
        copy,
    ),
    Row(
        "memory-rebuild",
        "Peak resident memory of `refold rebuild` on PostgreSQL.",
        Goal("at most", MEGABYTES, "MB"),
        rebuild,
    ),
)
