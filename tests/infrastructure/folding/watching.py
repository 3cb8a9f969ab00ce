"""The lock of rounds, watched: a test waits until so many have come to it."""

from threading import Lock, Semaphore

from refold.infrastructure.folding.rounds import Rounds


class Watched:
    """The lock of rounds, which tells how many have come to it."""

    def __init__(self) -> None:
        self._lock, self._came = Lock(), Semaphore(0)

    def __enter__(self) -> None:
        self._came.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_for(self, number: int) -> None:
        for _ in range(number):
            assert self._came.acquire(timeout=5)


def watched(rounds: Rounds) -> Watched:
    """Give `rounds` such a lock, and return it."""
    rounds._folding = lock = Watched()  # type: ignore[assignment]
    return lock
