"""Runs pgbench, PostgreSQL's own benchmark: one prepared statement."""

import os
import re
import subprocess
from importlib import resources

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from refold.domain.errors import Unavailable
from refold.scripts.measure.site import Site


def rate(
    site: Site, url: str, script: str, transactions: int, *, clients: int = 1, **variables: int
) -> float:
    """Return the transactions a second of `script`, one of the .sql files of this folder.

    Each of the clients does that many transactions. Raises `Unavailable` when pgbench fails.
    """
    settings = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    password = settings.pop("password", "")  # others could see it in a command
    statement = resources.files("refold.scripts.measure") / f"{script}.sql"
    with resources.as_file(statement) as path:
        command = [
            *(str(site.binaries / "pgbench"), "--no-vacuum", "--protocol=prepared"),
            *(f"--client={clients}", "--jobs=1"),
            *(f"--transactions={transactions}", f"--file={path}"),
            *(f"--define={name}={value}" for name, value in variables.items()),
            make_conninfo(**settings),
        ]
        run = subprocess.run(  # noqa: S603 (composed here)
            command,
            env={**os.environ, "PGPASSWORD": password},
            capture_output=True,
            text=True,
        )
    found = re.search(r"^tps = ([0-9.]+)", run.stdout, re.MULTILINE)
    if run.returncode or not found:
        raise Unavailable(f"pgbench failed: {run.stderr.strip().rpartition(chr(10))[2]}")
    return float(found[1])
