"""A service: registers files by commands until its store has moved, and a little longer.

Argument: address of the store. It prints `done ID POSITION` for each command that was acknowledged
and `moved ID MESSAGE` for each that was sent on.
"""

import sys
from itertools import count
from time import sleep
from typing import Final

from refold.domain.errors import Moved
from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.tests.infrastructure.faults.events import FLUSH_SECONDS

PERSISTENCE: Final = 5
"""Commands that it tries after the first that was sent on."""


def main(url: str) -> None:
    moved = 0
    with open_store(url) as store:
        for number in count():
            id, sha256 = f"command-{number}", f"{number:064x}"
            data = {"sha256": sha256, "cid": "cid", "name": f"holiday {number}"}
            try:
                done = run(store, "file.register", data, command_id=id, actor="ada")
                print("done", id, done.position, flush=True)
                sleep(FLUSH_SECONDS)
            except Moved as refusal:
                print("moved", id, refusal, flush=True)
                moved += 1
            if moved > PERSISTENCE:
                return


if __name__ == "__main__":
    main(*sys.argv[1:])
