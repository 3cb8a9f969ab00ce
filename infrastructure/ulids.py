"""ULIDs: ids that sort by the time when they were made, 26 characters of Crockford's base 32."""

from secrets import randbits
from threading import Lock
from time import time_ns
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS: Final = [high + low for high in _ALPHABET for low in _ALPHABET]


def new_ulid() -> str:
    """Return an id greater than all that this process made before, whatever its clock does."""
    return _text(_numbers.next())


class _Numbers:
    """128 bits each: 48 of ms since 1970, 80 of chance."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._last = 0

    def next(self) -> int:
        fresh = time_ns() // 1_000_000 << 80 | randbits(80)
        with self._lock:
            if fresh <= self._last:
                fresh = self._last + 1 + randbits(64)  # a forked process goes on elsewhere
            self._last = fresh
        return fresh


_numbers: Final = _Numbers()


def _text(number: int) -> str:
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -10, -10)])
