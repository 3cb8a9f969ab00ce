"""The daemon follows the log while others write, applies nothing twice, and stops when told to."""

import json
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from subprocess import PIPE, Popen
from time import monotonic, sleep, time_ns
from typing import Any, Final

from refold.domain import times
from refold.domain.positions import PARTITION
from refold.infrastructure import chain
from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.cluster import throwaway
from refold.infrastructure.services.sessions import show_session
from refold.infrastructure.status import status
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.tests.infrastructure.faults.events import SESSION
from refold.tests.infrastructure.faults.processes import PATIENCE, begin_together, started, succeed

WRITERS: Final = 3
COMMANDS: Final = 200
REFOLD: Final = "from refold.scripts.cli import main; main()"


def test_two_daemons_beside_three_writers_apply_nothing_twice_and_stop_when_told(url: str) -> None:
    with open_store(url) as store, ExitStack() as stack:
        daemons = [stack.enter_context(_daemon(url)) for _ in range(2)]
        first = [_next(daemon) for daemon in daemons]  # now they can be told to stop
        writers = [
            stack.enter_context(
                started("appending", url, f"writer-{n}", str(COMMANDS), output=PIPE)
            )
            for n in range(WRITERS)
        ]
        begin_together(writers)
        succeed(writers)
        _wait(lambda: _lags(store) == {0})

        said = [_stopped(daemon) for daemon in daemons]

        assert [daemon.returncode for daemon in daemons] == [0, 0]
        assert [line["event"] for line in first] == ["started", "started"]
        assert [lines[-1]["event"] for lines in said] == ["stopped", "stopped"]
        assert max(lines[-1]["position"] for lines in said) == WRITERS * COMMANDS
        rebuilt = store.rebuilder.rebuild(catalog.ALL)
        assert all(each.is_equal for each in rebuilt)


def test_a_daemon_seals_and_ends_the_sessions_that_have_expired(url: str) -> None:
    with open_store(url) as store, _daemon(url, "--purge", "0") as daemon:
        soon = times.text(time_ns() // 1_000 + 300_000)
        session = {**SESSION, "expires_at": soon}
        done = run(store, "session.set", session, command_id="set", actor="web")
        for number in range(chain.GRID):
            data = {"sha256": f"{number:064x}", "cid": "cid"}
            run(store, "file.register", data, command_id=f"{number}", actor="ada")

        _wait(lambda: len(store.log.stream(done.stream)) == 2 and _sealed(store) == chain.GRID)
        said = _stopped(daemon)

        assert store.log.keys([done.stream])[0].wrapped is None
        assert show_session(store, SESSION["sid"]) is None
        assert {"folded", "sealed", "purged"} <= {line["event"] for line in said}
        assert "canary" not in json.dumps(said)


def test_a_daemon_says_that_its_store_is_away_and_goes_on_when_it_is_back() -> None:
    with throwaway() as cluster, open_store(cluster.url, create=True) as store:
        with _daemon(cluster.url) as daemon:
            assert _next(daemon)["event"] == "started"
            cluster.restart("immediate")
            data = {"sha256": "0" * 64, "cid": "cid"}
            run(store, "file.register", data, command_id="after", actor="ada")
            _wait(lambda: _lags(store) == {0} and status(store).partitions == [(0, 1)])

            said = _stopped(daemon)

        assert daemon.returncode == 0
        assert said[-1] == {**said[-1], "event": "stopped", "position": 1}


# --- saying it briefly ----------------------------------------------------------------


def _daemon(url: str, *options: str) -> "Popen[bytes]":
    command = [sys.executable, "-c", REFOLD, "run", "--store", url, *options]
    return Popen(command, stdout=PIPE)


def _next(daemon: "Popen[bytes]") -> dict[str, Any]:
    assert daemon.stdout
    line: dict[str, Any] = json.loads(daemon.stdout.readline())
    return line


def _stopped(daemon: "Popen[bytes]") -> list[dict[str, Any]]:
    """Tell the daemon to stop, and return what it has said."""
    daemon.send_signal(signal.SIGTERM)
    printed, _ = daemon.communicate(timeout=PATIENCE)
    return [json.loads(line) for line in printed.splitlines()]


def _lags(store: Store) -> set[int]:
    return {each.lag for each in status(store).projections}


def _sealed(store: Store) -> int:
    return max((seal.position for seal in store.log.seals(PARTITION)), default=0)


def _wait(until: Callable[[], bool]) -> None:
    deadline = monotonic() + PATIENCE
    while not until():
        assert monotonic() < deadline
        sleep(0.02)
