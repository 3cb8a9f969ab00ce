"""A service with many callers: eight threads append commands of two events through group commit.

Arguments: address of the store, name of the service. It prints the id of each command that was
acknowledged.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from refold.domain import file
from refold.domain.ports import Appended
from refold.infrastructure.appending.group_commit import GroupCommit, PartitionedCommit
from refold.tests.infrastructure.faults.events import command, open_log

COMMANDS: Final = 20_000
"""More than it gets to: somebody ends it."""
THREADS: Final = 8


def main(url: str, service: str) -> None:
    log = open_log(url)
    group = PartitionedCommit(log, log.partitions) if log.partitions > 1 else GroupCommit(log)

    def append(number: int) -> None:
        id = f"{service}-{number}"
        changes = file.Changed(name=id), file.Changed(name="holiday")
        [outcome] = group.append([command(id, f"file-{id}", 0, *changes)])
        assert isinstance(outcome, Appended)
        os.write(1, f"{id}\n".encode())

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(append, range(COMMANDS)))
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
