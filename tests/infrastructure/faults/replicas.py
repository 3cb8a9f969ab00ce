"""An asynchronous replica of a throw-away PostgreSQL."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psycopg

from refold.infrastructure.postgres.cluster import ENVIRONMENT, Cluster, _free_port
from refold.tests.infrastructure.faults.forks import wait


@contextmanager
def replica_of(primary: Cluster) -> Iterator[Cluster]:
    """Run a replica that follows `primary`."""
    binaries, account = Path(primary.command[0]).parent, primary.account
    with TemporaryDirectory(prefix="refold-replica-") as home:
        if account.user is not None and account.group is not None:
            os.chown(home, account.user, account.group)
        subprocess.run(
            [
                *(binaries / "pg_basebackup", f"--dbname={primary.url}", "--checkpoint=fast"),
                *(f"--pgdata={home}/data", "--write-recovery-conf", "--no-sync"),
            ],
            cwd=home,
            env=ENVIRONMENT,
            user=account.user,
            group=account.group,
            extra_groups=account.extra_groups,
            check=True,
        )
        port, parts = _free_port(), urlsplit(primary.url)
        replica = replace(
            primary,
            url=parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{port}").geturl(),
            command=(primary.command[0], "-D", Path(home) / "data", "-p", str(port)),
            home=Path(home),
            process=None,
        )
        try:
            replica.start()
            yield replica
        finally:
            replica.stop("immediate")


def cut_off(replica: Cluster) -> None:
    """Let `replica` get nothing any more of what its primary writes."""
    with psycopg.connect(replica.url, autocommit=True) as session:
        session.execute("ALTER SYSTEM SET primary_conninfo = ''")
        session.execute("SELECT pg_reload_conf()")
        wait(lambda: not session.execute("SELECT 1 FROM pg_stat_wal_receiver").fetchone())


def promote(replica: Cluster) -> None:
    """Make `replica` a primary, with what it has."""
    with psycopg.connect(replica.url, autocommit=True) as session:
        session.execute("SELECT pg_promote()")
        wait(lambda: session.execute("SELECT NOT pg_is_in_recovery()").fetchone() == (True,))
