"""A writer: appends to streams of its own on the fast and the locked path, and to a shared one.

It does so in two threads, through group commit. Arguments: address of the store, name of the
writer, number of commands. It says `ready` and begins when its stdin ends, so that all writers
begin together.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from time import sleep
from typing import Final

from refold.domain import file
from refold.domain.errors import Conflict
from refold.domain.ports import Appended, Outcome
from refold.infrastructure.appending.group_commit import GroupCommit
from refold.tests.infrastructure.faults.events import command, open_log, registration

SHARED: Final = "file-shared"
THREADS: Final = 2


def main(url: str, writer: str, commands: str) -> None:
    log = open_log(url)
    group = GroupCommit(log)
    print("ready", flush=True)
    sys.stdin.read()
    with ThreadPoolExecutor(THREADS) as pool:
        for thread in [
            pool.submit(_write, group, f"{writer}-{number}", int(commands) // THREADS)
            for number in range(THREADS)
        ]:
            thread.result()
    log.close()


def _write(log: GroupCommit, writer: str, commands: int) -> None:
    shared = 0
    for number in range(commands):
        sleep(0.001)  # SQLite's lock is not fair: without this one writer would keep it
        id = f"{writer}-{number}"
        if number % 6 == 5:
            shared = _append_to_the_shared_stream(log, id, shared)
        else:  # an exact version takes the fast path where there is one, any the locked path
            expected = 0 if number % 2 else None
            _appended(log.append([registration(id, id, expected=expected)])[0])


def _append_to_the_shared_stream(log: GroupCommit, id: str, version: int) -> int:
    """Append behind whoever was faster, and return the version reached."""
    while True:
        [outcome] = log.append([command(id, SHARED, version, file.Changed(name=id))])
        if not isinstance(outcome, Conflict):
            return _appended(outcome).version
        version = outcome.actual


def _appended(outcome: Outcome) -> Appended:
    if not isinstance(outcome, Appended):
        raise outcome
    return outcome


if __name__ == "__main__":
    main(*sys.argv[1:])
