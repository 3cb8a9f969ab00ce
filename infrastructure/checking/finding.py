"""What a check finds, and what each engine checks in its own way."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

Level = Literal["problem", "warning"]
"""A problem is wrong now; a warning is what may go wrong, or is slow."""


class Finding(NamedTuple):
    """One sentence about what is not as it should be, and the command that mends it."""

    check: str
    level: Level
    what: str
    mend: str


class Checks(Protocol):
    """What an engine is asked about a store. It only reads, and raises `Unavailable`."""

    def schema(self) -> str | None:
        """Return the version of the log's schema, None when there is none.

        Raises `NewerSchema`.
        """
        ...

    def has_tables(self) -> bool:
        """Tell whether there is a registry of query tables."""
        ...

    def findings(self) -> Iterator[Finding]:
        """Yield what is wrong with guards, settings and locks."""
        ...

    def is_locked(self) -> bool:
        """Tell whether a reader of the store would have to wait for a lock that goes on."""
        ...

    def typed(self, sql: str) -> str:
        """Return the shell command that runs statements on the log as its owner."""
        ...
