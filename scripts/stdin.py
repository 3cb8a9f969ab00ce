"""What tasks read on stdin."""

import sys
from collections.abc import Iterator

from refold.domain.errors import BadInput


def whole() -> bytes:
    """Return all that comes on stdin. Raises `BadInput`."""
    return b"".join(lines())


def lines() -> Iterator[bytes]:
    """Yield the lines that come on stdin, each once it is there. Raises `BadInput`."""
    if sys.stdin is None:
        raise BadInput("stdin is closed")
    try:
        yield from sys.stdin.buffer
    except OSError as error:
        raise BadInput(f"stdin cannot be read: {error.strerror}") from error
