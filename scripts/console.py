"""Where the `refold` command begins: it takes a second to load, in which little is there yet."""

import os
import signal
import sys


def main() -> None:
    """Run the command line; ^C ends it as quietly while it is loaded as it does later.

    Without a stdout nothing is done: nobody could be told what.
    """
    if sys.stdout is None:
        sys.exit("refold: stdout is closed")
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is ignored
        signal.signal(signal.SIGINT, _end)
        from refold.scripts import cli

        signal.signal(signal.SIGINT, signal.default_int_handler)
    else:
        from refold.scripts import cli
    cli.main()


def _end(*_: object) -> None:
    """End at once: what is being loaded might make another error of an exception."""
    os._exit(130)
