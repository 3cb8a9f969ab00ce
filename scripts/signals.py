"""Signals that ask a task to end."""

import signal
from threading import Event


def stopped() -> Event:
    """Return what SIGTERM and SIGINT set from now on, instead of ending the process."""
    event = Event()
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: event.set())
    return event
