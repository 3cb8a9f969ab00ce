"""Threads that wait for the tables at the same time: one of them folds, for all."""

from collections.abc import Callable
from copy import copy
from functools import partial
from threading import Lock

from refold.domain.errors import Unavailable
from refold.domain.positions import Positions


class Rounds:
    """Foldings by the threads of one store, one after the other."""

    def __init__(self) -> None:
        self._folding = Lock()
        self._ended = 0
        self._reached = Positions(())
        self._last: Positions | None = None
        self._error: Unavailable | None = None

    def reach(self, goal: Positions, fold: Callable[[Positions | None], Positions]) -> None:
        """Call `fold`, but not if one that ended meanwhile reached `goal`.

        It returns how far all tables came: nowhere when one of them is stopped, so that nobody
        believes it. One that was waited for, and went well, tells the next how far it came. Whoever
        asks for what was reached before waits for nobody. `Unavailable` is raised for all who
        waited for the one that found it out.
        """
        if self._reached.covers(goal):
            fold(None)
            return
        before = self._ended
        with self._folding:
            ended = self._ended > before
            if ended and self._reached.covers(goal):
                return
            if ended and self._error:
                raise copy(self._error) from self._error
            self._fold(partial(fold, self._last if ended else None))

    def _fold(self, fold: Callable[[], Positions]) -> None:
        self._error = self._last = None
        try:
            self._reached = fold()
            self._last = self._reached if self._reached.each else None
        except Unavailable as error:
            self._error = error
            raise
        finally:
            self._ended += 1
