"""Patience with a store that is away for a moment: the same is tried again until time is up."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import Final, TypeVar

from refold.domain.errors import Unavailable

SECONDS = 20.0
"""How long the same is tried again when nothing else is said."""

_FIRST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0

T = TypeVar("T")


class Passing(Unavailable):
    """The store cannot be used now and may be in a moment: a deadlock, a lock, a restart."""


def patiently(
    work: Callable[[], T],
    seconds: float | None = None,
    between: Callable[[], object] | None = None,
) -> T:
    """Return what `work` returns; when it raises `Passing`, try again until `seconds`, or
    `SECONDS`, are over.

    `work` runs as a whole again, so it has to begin its own transaction. `between` is called
    before each further try. Raises `Unavailable` in the end, which nobody around tries again; what
    else `work` raises comes out at once.
    """
    deadline = monotonic() + (SECONDS if seconds is None else seconds)
    pause = _FIRST_PAUSE
    while True:
        try:
            return work()
        except Passing as error:
            if monotonic() + pause > deadline:
                raise Unavailable(str(error)) from error
        sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        if between:
            between()
