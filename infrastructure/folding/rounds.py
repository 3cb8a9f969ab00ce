"""Threads that wait for the tables at the same time: one of them folds, for all."""

from collections.abc import Callable
from threading import Lock


class Rounds:
    """Foldings by the threads of one store, one after the other."""

    def __init__(self) -> None:
        self._folding = Lock()
        self._ended = 0
        self._reached = 0

    def reach(self, position: int, fold: Callable[[], int]) -> None:
        """Call `fold`, which returns how far it came; but not if one meanwhile reached `position`.

        Whoever asks for what was reached before waits for nobody.
        """
        if position <= self._reached:
            fold()
            return
        before = self._ended
        with self._folding:
            if self._ended == before or self._reached < position:
                self._reached = fold()
                self._ended += 1
