"""`refold run`: the daemon."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from refold.infrastructure.config import read
from refold.infrastructure.daemon import Daemon
from refold.infrastructure.open import open_at
from refold.scripts import options, signals


def run(
    purge: Annotated[
        float, typer.Option(min=0, help="Seconds between two looks for expired sessions.")
    ] = 60.0,
    drift: Annotated[
        float | None,
        typer.Option(
            "--drift-seconds",
            min=1,
            help="Seconds between two looks whether a few live rows are what the log makes"
            " [default: drift_seconds of refold.toml, or no look].",
            show_default=False,
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Do what there is to do, and end.")] = False,
    store: options.Address = None,
    config: options.Config = None,
) -> None:
    """Keep query tables current, seal the log and end expired sessions, until SIGTERM.

    Nobody needs it to be right: readers fold what is missing themselves. Several may run on one
    store. It prints one JSON line for each thing that it did. With --drift-seconds it prints one
    for each cell that differs, too; a look reads the keys of all tables once, but for those that
    are blocked.

    Example: refold run --store sqlite:///files.db
    """
    stopped = signals.stopped()
    settings = read(store, config)
    if drift is None:
        drift = settings.storage.drift_seconds
    with open_at(settings.address(), settings=settings) as opened:
        daemon = Daemon(opened, _say, purge, drift)
        if once:
            daemon.step()
        else:
            daemon.run(stopped)


def _say(what: str, facts: dict[str, int | float | str]) -> None:
    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"at": at, "event": what, **facts}), flush=True)
