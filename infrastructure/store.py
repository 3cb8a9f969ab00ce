"""A store: a log, its query tables, vault and blobs, and the codec between them."""

from dataclasses import dataclass

from refold.domain.errors import NoPlaceForBlobs
from refold.domain.ports import Blobs, Event, Log
from refold.infrastructure.address import Address
from refold.infrastructure.codec import Codec
from refold.infrastructure.folding.folder import Folder
from refold.infrastructure.folding.tables import Tables
from refold.infrastructure.group_commit import GroupCommit
from refold.infrastructure.vault import Vault
from refold.projections import catalog


@dataclass(frozen=True, slots=True)
class Store:
    """One open store. Close it, or use it as a context manager.

    Appends go through `commits`: threads and tasks that append at the same time share a commit.
    The codec opens personal fields.
    """

    address: Address
    log: Log
    commits: GroupCommit
    tables: Tables
    vault: Vault
    codec: Codec
    place_for_blobs: Blobs | None

    @property
    def blobs(self) -> Blobs:
        """Return where large contents are. Raises `NoPlaceForBlobs`."""
        if self.place_for_blobs is None:
            raise NoPlaceForBlobs
        return self.place_for_blobs

    @property
    def folder(self) -> Folder:
        """Return what folds this store's log into its tables."""
        return Folder(self.log, self.tables, self.codec, catalog.ALL)

    def stream(self, stream: str) -> list[Event]:
        """Return the events of a stream, decoded."""
        return self.codec.decode_all(self.log.stream(stream))

    def family(self, family: str) -> list[Event]:
        """Return the events of all streams of a family, decoded, in the order of the log."""
        return self.codec.decode_all(self.log.family(family))

    def close(self) -> None:
        """Let go of files and connections."""
        self.log.close()
        self.tables.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
