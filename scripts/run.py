"""`refold run`: the daemon."""

import json
import signal
from datetime import UTC, datetime
from threading import Event
from typing import Annotated

import typer

from refold.infrastructure.daemon import Daemon
from refold.scripts import options


def run(
    purge: Annotated[
        float, typer.Option(min=0, help="Seconds between two looks for expired sessions.")
    ] = 60.0,
    once: Annotated[bool, typer.Option("--once", help="Do what there is to do, and end.")] = False,
    store: options.Address = None,
    config: options.Config = None,
) -> None:
    """Keep query tables current, seal the log and end expired sessions, until SIGTERM.

    Nobody needs it to be right: readers fold what is missing themselves. Several may run on one
    store. It prints one JSON line for each thing that it did.

    Example: refold run --store sqlite:///files.db
    """
    stopped = Event()
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: stopped.set())
    with options.opened(store, config) as opened:
        daemon = Daemon(opened, _say, purge)
        if once:
            daemon.step()
        else:
            daemon.run(stopped)


def _say(what: str, facts: dict[str, int | float | str]) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"at": at, "event": what, **facts}), flush=True)
