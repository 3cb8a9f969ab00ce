"""Interrupts a call as a signal handler does that raises: where CPython looks for signals."""

import contextlib
import sys
from collections.abc import Callable
from dis import opname
from types import FrameType, ModuleType
from typing import Any, Final, TypeVar

T = TypeVar("T")

ENTERED: Final = frozenset({contextlib.__file__})
"""Files whose functions are interrupted where they are called by what is."""


class Interrupted(BaseException):
    """The call was interrupted."""


def interrupted(work: Callable[[], T], at: int, *modules: ModuleType) -> T:
    """Run `work`, and raise `Interrupted` at its point number `at`, 1-based, if it gets there.

    Points are in the functions of `modules` and what they enter of contextlib: where a function
    begins, and behind each call and each jump back.
    """
    files = {module.__file__ for module in modules}
    before: dict[FrameType, str] = {}
    points = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal points
        file = frame.f_code.co_filename
        if file not in files and not (file in ENTERED and frame.f_back in before):
            return None
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            points += 1
        elif event == "opcode":
            points += before[frame].startswith(("CALL", "JUMP_BACKWARD"))
        before[frame] = opname[frame.f_code.co_code[frame.f_lasti]]
        if points == at:
            raise Interrupted
        return trace

    others = sys.gettrace()
    sys.settrace(trace)
    try:
        return work()
    finally:
        sys.settrace(others)
