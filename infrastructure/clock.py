"""What time it is for a store: the clock on the wall, or the log's, whichever is later.

A clock that was set back must not bring expired sessions to life again.
"""

from time import time_ns

from refold.domain.ports import Log


def now(log: Log) -> int:
    """Return µs since 1970 UTC, not before the last event of any partition."""
    last_ones = [
        last.recorded_at
        for head in log.heads()
        if head.position
        for last in log.page(head.partition, head.position - 1, 1)
    ]
    return max(time_ns() // 1_000, *last_ones, 0)
