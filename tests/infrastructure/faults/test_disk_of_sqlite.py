"""The disk under SQLite fails or is full: what was acknowledged is there, and it goes on after."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from refold.domain.positions import PARTITION
from refold.infrastructure.open import open_store
from refold.tests.infrastructure.faults import disks, forks
from refold.tests.infrastructure.faults.invariant import acknowledged, check
from refold.tests.infrastructure.faults.lengths import LONG

COMMANDS: Final = 3
MOST: Final = 300
"""More calls than the commands, and the tables that are built behind them, make."""

Record = Callable[[str, object], None]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The address of an empty store on SQLite."""
    place = f"sqlite:///{tmp_path / 'store.db'}"
    open_store(place, create=True).close()
    return place


@pytest.mark.parametrize(("calls", "stride"), [(disks.FLUSHES, 3), (disks.WRITES, 17)])
def test_whichever_flush_or_write_fails_nothing_acknowledged_is_lost(
    url: str, tmp_path: Path, record_property: Record, calls: str, stride: int
) -> None:
    failed = 0
    for nth in range(1, MOST, 1 if LONG else stride):
        writer = forks.register, url, f"{calls}-{nth}", COMMANDS
        with forks.forked(tmp_path, forks.when_told, *writer) as process:
            struck = disks.run_failing(process, calls, nth, tmp_path)
        done = acknowledged(process.stdout)
        if process.process.exitcode:  # it was told that, in a sentence
            assert (process.ended(), process.stderr.count("\n")) == (4, 1), process.stderr
            assert "SQLITE_IOERR" in process.stderr
            with forks.forked(tmp_path, *writer) as again:
                assert again.ended() == 0, again.stderr
            done |= acknowledged(again.stdout)

        assert len(done) == COMMANDS
        with open_store(url) as store:
            check(store, done)
        failed += struck
        if not struck:
            break
    else:
        raise AssertionError(f"there are more than {MOST} calls")

    record_property(f"EIO at a call of {calls}", failed)
    assert failed >= (10 if LONG else 4)


def test_a_full_disk_is_refused_by_name_and_written_on_once_there_is_room(
    tmp_path: Path, record_property: Record
) -> None:
    with disks.small_disk(tmp_path / "disk", "1m") as resize:
        url = f"sqlite:///{tmp_path / 'disk' / 'store.db'}"
        with open_store(url, create=True) as reader:
            with forks.forked(tmp_path, forks.register, url, "before", 0) as writer:
                assert writer.ended() == 4
            done = acknowledged(writer.stdout)

            assert "SQLITE_FULL" in writer.stderr
            assert reader.log.heads()[PARTITION].position >= len(done) > 10
            assert len(reader.log.page(PARTITION, 0, len(done))) == len(done)

        resize("50m")
        with open_store(url) as store:
            check(store, done)
        done |= _goes_on(tmp_path, url)
        with open_store(url) as store:
            check(store, done)
        record_property("full disk", 1)


def test_files_that_may_not_grow_are_refused_by_name_and_written_on_once_they_may(
    url: str, tmp_path: Path, record_property: Record
) -> None:
    writer = forks.register, url, "before", 0
    with forks.forked(tmp_path, disks.with_small_files, 500_000, *writer) as process:
        assert process.ended() == 4
    done = acknowledged(process.stdout)

    assert "SQLITE_IOERR_WRITE" in process.stderr
    assert max(path.stat().st_size for path in tmp_path.glob("store.db*")) <= 500_000
    assert len(done) > 10
    with open_store(url) as store:
        check(store, done)
    done |= _goes_on(tmp_path, url)
    with open_store(url) as store:
        check(store, done)
    record_property("files that may not grow", 1)


def test_a_service_whose_writes_failed_goes_on_by_itself(
    url: str, tmp_path: Path, record_property: Record
) -> None:
    with forks.forked(tmp_path, forks.register_despite, url, 3) as service:
        assert service.ended() == 0, service.stderr

    done = acknowledged(service.stdout)
    refused = [line for line in service.stdout.splitlines() if line.startswith("refused")]
    assert ["SQLITE_IOERR_WRITE" in line for line in refused] == [True] * 3
    assert len(done) == 3
    with open_store(url) as store:
        check(store, done)
    record_property("files that may not grow", 3)


def _goes_on(folder: Path, url: str) -> dict[str, int]:
    with forks.forked(folder, forks.register, url, "after", COMMANDS) as writer:
        assert writer.ended() == 0, writer.stderr
    return acknowledged(writer.stdout)
