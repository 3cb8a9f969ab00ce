"""Fail points: named steps at which a test has the process killed. None is on by itself."""

import os
from signal import SIGKILL
from typing import Final

VARIABLE: Final = "REFOLD_FAILPOINT"


def reach(point: str) -> None:
    """End this process here, as `kill -9` would, when `REFOLD_FAILPOINT` names this point."""
    if os.environ.get(VARIABLE) == point:
        os.kill(os.getpid(), SIGKILL)
