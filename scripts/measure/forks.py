"""Processes that take part in a measurement, and pipes to them."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

from refold.domain.errors import Unavailable


@contextmanager
def started(
    work: Callable[..., None], arguments: Sequence[Sequence[object]]
) -> Iterator[list[Connection]]:
    """Start a process for each of `arguments`, and give pipes to them.

    Each does `work` with its arguments and, last, its end of the pipe, and has to end with that.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload(["__main__", work.__module__])  # else each imports it all
    pipes, processes = [], []
    try:
        for each in arguments:
            here, there = context.Pipe()
            process = context.Process(target=work, args=(*each, there), daemon=True)
            process.start()
            there.close()
            pipes.append(here)
            processes.append(process)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in processes:
            process.join()


def ask(processes: Sequence[Connection], what: object) -> list[Any]:
    """Send `what` to all of them, and return their answers. Raises `Unavailable`."""
    try:
        for process in processes:
            process.send(what)
        return [process.recv() for process in processes]
    except (OSError, EOFError) as error:
        raise Unavailable("a process of the measurement ended before its time") from error
