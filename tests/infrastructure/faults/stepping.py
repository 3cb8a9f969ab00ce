"""A service on a machine whose clock is set: an hour ahead, and back again.

Argument: address of the store. It prints one JSON document a step: what the clock says, in µs, and
whether the session that ends half an hour from now is found. refold reads the clock by
`time.time_ns`, which is replaced here before refold is there.
"""

import sys
import time
from typing import Final

HOUR: Final = 3_600_000_000_000
ahead = 0
_real = time.time_ns
time.time_ns = lambda: _real() + ahead

# ruff: noqa: E402
import json

from refold.domain import times
from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.infrastructure.services import sessions
from refold.infrastructure.store import Store
from refold.tests.infrastructure.faults.events import SESSION


def main(url: str) -> None:
    global ahead
    soon = times.text((_real() + HOUR // 2) // 1_000)
    session = {**SESSION, "expires_at": soon}
    with open_store(url) as store:
        run(store, "session.set", session, command_id="set", actor="web")
        _step(store, "now")
        ahead = HOUR
        _step(store, "ahead")
        ahead = 0
        _step(store, "back")
        ended = sessions.purge(store)
        print(json.dumps({"ended": ended}), flush=True)


def _step(store: Store, name: str) -> None:
    """Say what the clock and the session are, having appended something there."""
    clock = time.time_ns() // 1_000
    fields = {"sha256": f"{len(name):064x}", "cid": "cid"}
    done = run(store, "file.register", fields, command_id=name, actor="ada")
    alive = sessions.show_session(store, SESSION["sid"]) is not None
    said = {"step": name, "clock": clock, "alive": alive, "position": done.position}
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
