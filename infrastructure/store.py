"""A store: a log, the query tables folded from it, and the codec between them."""

from dataclasses import dataclass

from refold.domain.ports import Event, Log
from refold.infrastructure.address import Address
from refold.infrastructure.codec import EVENTS, Codec
from refold.infrastructure.folding import Folder
from refold.infrastructure.tables import Tables
from refold.projections import catalog


@dataclass(frozen=True, slots=True)
class Store:
    """One open store. Close it, or use it as a context manager."""

    address: Address
    log: Log
    tables: Tables
    codec: Codec = EVENTS

    @property
    def folder(self) -> Folder:
        """Return what folds this store's log into its tables."""
        return Folder(self.log, self.tables, self.codec, catalog.ALL)

    def stream(self, stream: str) -> list[Event]:
        """Return the events of a stream, decoded."""
        return [self.codec.decode(recorded) for recorded in self.log.stream(stream)]

    def family(self, family: str) -> list[Event]:
        """Return the events of all streams of a family, decoded, in the order of the log."""
        return [self.codec.decode(recorded) for recorded in self.log.family(family)]

    def close(self) -> None:
        """Let go of files and connections."""
        self.log.close()
        self.tables.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
