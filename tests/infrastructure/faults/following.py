"""A reader: follows a log by position and prints each record's position and command id.

Arguments: address of the store, position at which to stop.
"""

import sys
from time import sleep

from refold.tests.infrastructure.faults.events import open_log


def main(url: str, until: str) -> None:
    log = open_log(url)
    checkpoint = 0
    while checkpoint < int(until):
        for record in log.page(0, checkpoint, 100):
            print(record.position, record.command_id)
            checkpoint = record.position
        sleep(0.001)
    log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
