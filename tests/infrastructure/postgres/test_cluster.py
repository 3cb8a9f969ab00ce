"""The throw-away PostgreSQL: starts from every binary at hand, survives a crash, leaves nothing."""

from pathlib import Path

import psycopg
import pytest

from refold.domain.errors import Unavailable
from refold.infrastructure.postgres.binaries import Binaries, find_binaries
from refold.infrastructure.postgres.cluster import throwaway


@pytest.mark.parametrize("binaries", find_binaries(), ids=lambda binaries: binaries.version)
def test_what_was_committed_survives_an_immediate_restart(binaries: Binaries) -> None:
    with throwaway(binaries.directory) as cluster:
        with psycopg.connect(cluster.url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 'fact' AS what")
        cluster.restart("immediate")

        with psycopg.connect(cluster.url) as connection:
            assert connection.execute("SELECT what FROM kept").fetchall() == [("fact",)]


def test_a_cluster_is_durable_strict_and_on_loopback_only() -> None:
    asked = ("fsync", "data_checksums", "listen_addresses", "unix_socket_directories")

    with throwaway() as cluster, psycopg.connect(cluster.url) as connection:
        answers = [connection.execute(f"SHOW {name}").fetchone() for name in asked]

    assert answers == [("on",), ("on",), ("127.0.0.1",), ("",)]


def test_a_wrong_password_is_not_let_in() -> None:
    with throwaway() as cluster, pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(cluster.url.replace("@", "x@"))


def test_a_cluster_is_gone_after_use_even_when_its_user_failed() -> None:
    with pytest.raises(KeyboardInterrupt), throwaway() as cluster:
        raise KeyboardInterrupt

    assert not cluster.home.exists()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(cluster.url)


def test_a_directory_without_binaries_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=str(tmp_path)), throwaway(tmp_path):
        pass
