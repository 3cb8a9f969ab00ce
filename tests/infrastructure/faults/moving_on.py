"""A service that goes along when its store moves: registers files until it is told to stop.

Arguments: address of the store, a name of its own. It prints `done ID POSITION` for each command
that was acknowledged, and ends when its stdin does.
"""

import sys
from itertools import count
from threading import Thread
from time import sleep

from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.tests.infrastructure.faults.events import FLUSH_SECONDS


def main(url: str, name: str) -> None:
    asked = Thread(target=sys.stdin.read)
    asked.start()
    with open_store(url, follow_moves=True) as store:
        for number in count():
            if not asked.is_alive():
                return
            data = {"sha256": f"{name}{number:063x}", "cid": "cid", "name": f"holiday {number}"}
            done = run(store, "file.register", data, command_id=f"{name}-{number}", actor="ada")
            print("done", f"{name}-{number}", done.position, flush=True)
            sleep(FLUSH_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
