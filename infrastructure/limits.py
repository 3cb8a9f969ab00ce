"""How large an event, a query and a page may be. Names, tags and ids: see `domain.texts`."""

from typing import Final

from refold.domain.errors import Refused

PAYLOAD_BYTES: Final = 1 << 20
"""Bytes of an event with its metadata, unless REFOLD_PAYLOAD_BYTES says otherwise."""

PAGE_BYTES: Final = 16 << 20
"""Bytes of the events of a page of the log, unless it has only one."""

MOST_PARTITIONS: Final = 256
"""Partitions of one log."""

UPLOAD_BYTES: Final = 100 << 20
"""Bytes of an upload, unless `[storage.media]` says otherwise."""

QUERY_CHARACTERS: Final = 1_024
"""Characters of what is searched for."""

PAGE_ROWS: Final = 10_000
"""Rows that are asked for at once."""


class PayloadTooLarge(Refused):
    """An event has more bytes than a store takes."""

    def __init__(self, type: str, size: int, most: int) -> None:
        super().__init__(f"an event {type} of {size} bytes is larger than the limit of {most}")
        self.type, self.size, self.most = type, size, most


class QueryTooLong(Refused):
    """A query has more characters than a search takes."""


class PageTooLarge(Refused):
    """A page is asked for that no listing gives."""


def check_query(text: str) -> None:
    """Raise `QueryTooLong`."""
    if len(text) > QUERY_CHARACTERS:
        raise QueryTooLong(
            f"a query of {len(text)} characters is longer than the limit of {QUERY_CHARACTERS}"
        )


def check_page(limit: int | None, offset: int) -> None:
    """Raise `PageTooLarge` unless `limit` is 0 to 10 000 rows, or None for all."""
    if limit is not None and not 0 <= limit <= PAGE_ROWS:
        raise PageTooLarge(f"a page of {limit} rows is not within the limit of 0 to {PAGE_ROWS}")
    if not 0 <= offset < 2**63:
        raise PageTooLarge(f"no page begins behind {offset} rows")
