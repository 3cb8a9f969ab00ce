"""What the rows of a query table are, in one number: the same on every engine."""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

import msgspec

from refold.projections.projection import Row


@dataclass(frozen=True, slots=True)
class Digest:
    """What a table holds: the number of its rows and the SHA-256 over all of them."""

    rows: int
    hex: str


def digest(rows: Iterable[Row]) -> Digest:
    """Return the digest of rows that come in the order of their keys; equal on all engines.

    It is the SHA-256 of JSON lines: a row is an array of its declared columns, in order, in UTF-8
    without white space, and ends with a newline.
    """
    total, count = sha256(), 0
    for row in rows:
        total.update(msgspec.json.encode(row) + b"\n")
        count += 1
    return Digest(count, total.hexdigest())
