"""Times as text (RFC 3339, as Go writes it) and as instants (integers, exact).

An instant is a count of nanoseconds since 1970-01-01 UTC, of any size: PinShare's clocks have
nine fraction digits and its zero time is the year 1, which fits no 64-bit count.
"""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from refold.domain.errors import BadInput

ZERO_TIME: Final = "0001-01-01T00:00:00Z"
"""What Go writes for a time that was never set."""

_EPOCH: Final = datetime(1970, 1, 1)  # UTC, as everything here
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII
)


class NotATime(BadInput):
    """A text is no RFC 3339 time with at most nine fraction digits."""


def instant(text: str) -> int:
    """Return the nanoseconds since 1970 that `text` names, or raise `NotATime`."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise NotATime(f"{text!r} is not a time such as 2025-08-05T20:44:29.123Z")
    seconds, fraction, sign, hours, minutes = match.groups()
    try:
        since = datetime.fromisoformat(seconds) - _EPOCH
    except ValueError as error:
        raise NotATime(f"{text!r} is not a time: {error}") from error
    offset = 0
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise NotATime(f"{text!r} has an offset beyond 23:59")
        offset = (int(hours) * 3600 + int(minutes) * 60) * (1 if sign == "+" else -1)
    whole = since.days * 86_400 + since.seconds - offset
    return whole * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def micros(text: str) -> int:
    """Return the microseconds since 1970 that `text` names, rounded down; fits 64 bits."""
    return instant(text) // 1_000


def text(micros: int) -> str:
    """Return `micros` since 1970 as RFC 3339 in UTC, without trailing zeros, as Go does."""
    seconds, fraction = divmod(micros, 1_000_000)
    if not fraction:
        return f"{_second(seconds)}Z"
    return f"{_second(seconds)}.{fraction:06}".rstrip("0") + "Z"


@lru_cache(maxsize=1_024)
def _second(seconds: int) -> str:
    """Return the text of a whole second, which many events share."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat()
