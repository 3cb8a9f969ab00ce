"""The machine and the versions that figures belong to."""

import os
import platform
import re
import sqlite3
import subprocess
from contextlib import suppress
from pathlib import Path
from shutil import which

from refold.scripts.measure.site import Site


def machine() -> dict[str, str | int]:
    """Return what a reader of figures asks first."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": cores or 0,
    }


def _processor() -> str:
    """Return what Linux calls the processor, and what Python does elsewhere."""
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text()
        if found := re.search(r"^model name\s*: (.+)$", told, re.MULTILINE):
            return found[1]
    return platform.processor()


def versions(site: Site) -> dict[str, str]:
    """Return the versions of what was measured."""
    with site.connect() as server:
        [(postgres,)] = server.execute("SHOW server_version").fetchall()
    return {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "postgresql": str(postgres),
    }


def commit() -> str | None:
    """Return the commit of the checkout that runs, None where there is none or no git."""
    git = which("git")
    here = Path(__file__).parents[2]
    if git is None or not (here / ".git").exists():
        return None
    found = subprocess.run(  # noqa: S603 (composed here)
        [git, "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True
    )
    return found.stdout.strip() or None
