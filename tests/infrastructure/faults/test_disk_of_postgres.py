"""The disk under PostgreSQL is full: a named error, and nothing acknowledged is lost afterwards."""

import resource
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from refold.domain import file
from refold.domain.errors import Unavailable
from refold.domain.ports import Appended
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.cluster import Cluster, throwaway
from refold.infrastructure.store import Store
from refold.tests.infrastructure.faults import disks
from refold.tests.infrastructure.faults.events import command
from refold.tests.infrastructure.faults.invariant import check

MEGABYTE: Final = 2**20
LIMIT: Final = 16 * MEGABYTE + 4_096
"""Bytes of a file: a segment of the write-ahead log is not longer, a table is before long."""

Record = Callable[[str, object], None]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A server of the test's own, which clients do not wait long for."""
    monkeypatch.setenv("REFOLD_POOL_SILENT_SECONDS", "1")
    monkeypatch.setenv("REFOLD_POOL_CONNECT_SECONDS", "1")
    with throwaway() as cluster:
        yield cluster


@pytest.mark.parametrize(("folder", "spare"), [("base", 8), ("pg_wal", 24)])
def test_after_a_full_disk_all_that_was_acknowledged_is_there(
    cluster: Cluster, tmp_path: Path, record_property: Record, folder: str, spare: int
) -> None:
    open_store(cluster.url, create=True).close()
    cluster.stop()
    data = cluster.home / "data" / folder
    size = sum(path.stat().st_size for path in data.rglob("*")) // MEGABYTE + spare
    with disks.small_disk(cluster.home / "small", f"{size}m") as resize:
        shutil.copytree(data, cluster.home / "small" / folder)
        shutil.rmtree(data)
        data.symlink_to(cluster.home / "small" / folder)
        _give(cluster.home / "small", cluster)
        cluster.start()
        with open_store(cluster.url) as store:
            done, refusal = _fill_up(store)
        assert "No space left on device" in (cluster.home / "log").read_text(errors="replace")
        assert (folder == "pg_wal") or "SQLSTATE 53100" in refusal

        resize(f"{10 * size}m")
        cluster.restart("immediate")
        with open_store(cluster.url) as store:
            done["after"] = _append(store, "after")
            check(store, done)
        cluster.stop("immediate")
    record_property("full disk", 1)


def test_files_that_may_not_grow_are_refused_by_name_and_written_on_once_they_may(
    cluster: Cluster, record_property: Record
) -> None:
    open_store(cluster.url, create=True).close()
    cluster.stop()
    with _small_files(LIMIT):
        cluster.start()
    with open_store(cluster.url) as store:
        done, refusal = _fill_up(store)
        assert "SQLSTATE 53100" in refusal
        assert len(store.log.page(0, 0, len(done))) == len(done)

        cluster.restart()
        done["after"] = _append(store, "after")
        check(store, done)
    record_property("files that may not grow", 1)


def _fill_up(store: Store) -> tuple[dict[str, int], str]:
    """Append until that is refused; return where each command went, and the refusal."""
    done: dict[str, int] = {}
    for number in range(200):
        try:
            done[f"{number}"] = _append(store, f"{number}")
        except Unavailable as refusal:
            assert number > 2
            return done, str(refusal)
    raise AssertionError("there is room for all of it")


def _append(store: Store, id: str) -> int:
    text = secrets.token_hex(300_000)  # nothing that could be compressed
    [outcome] = store.log.append([command(id, f"file-{id}", 0, file.Changed(name=text))])
    assert isinstance(outcome, Appended)
    return outcome.position


def _give(folder: Path, cluster: Cluster) -> None:
    account = cluster.account
    if account.user is not None:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, account.user, account.group)


@contextmanager
def _small_files(size: int) -> Iterator[None]:
    """Let processes that are started in the block grow no file beyond `size`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
