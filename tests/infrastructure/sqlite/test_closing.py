"""A log in a SQLite file is closed while threads still read it."""

import subprocess
import sys
from pathlib import Path
from typing import Final

READING: Final = """
import sys
from contextlib import suppress
from pathlib import Path
from sqlite3 import ProgrammingError
from threading import Thread

from refold.infrastructure.address import Sqlite
from refold.infrastructure.open import open_log


def read(log):
    with suppress(ProgrammingError):  # it is closed
        while True:
            log.heads()


for _ in range(20):
    log = open_log(Sqlite(Path(sys.argv[1])), create=True)
    threads = [Thread(target=read, args=[log]) for _ in range(3)]
    for thread in threads:
        thread.start()
    log.close()
    for thread in threads:
        thread.join()
"""


def test_a_log_is_closed_beneath_threads_that_read_it(tmp_path: Path) -> None:
    program = [sys.executable, "-c", READING, str(tmp_path / "store.db")]

    ended = subprocess.run(program, capture_output=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (0, b"")
