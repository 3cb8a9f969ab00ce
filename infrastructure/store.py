"""A store: a log, its query tables, vault and blobs, and the codec between them."""

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, fields, replace
from threading import Lock, RLock

from refold.domain import streams
from refold.domain.errors import NoPlaceForBlobs
from refold.domain.ports import Blobs, Event, Log, Past, State
from refold.infrastructure.address import Address
from refold.infrastructure.appending.group_commit import GroupCommit, PartitionedCommit
from refold.infrastructure.codec import Codec
from refold.infrastructure.folding.advancing import Advance
from refold.infrastructure.folding.building import Workers
from refold.infrastructure.folding.folder import Folder
from refold.infrastructure.folding.rebuilding import Rebuilder
from refold.infrastructure.folding.rounds import Rounds
from refold.infrastructure.folding.tables import Tables
from refold.infrastructure.patience import Passing
from refold.infrastructure.vault import Vault
from refold.projections import catalog


@dataclass(slots=True)
class Store:
    """One open store. Close it, or use it as a context manager.

    It stays where it is unless it was opened to follow moves: then, once a command is told that the
    store has moved, all of it is that of the other place.

    Appends go through `commits`: threads and tasks that append at the same time share a commit.
    The codec opens personal fields. `touch_step` is how many µs the expiry of a session has to move
    before that is an event, `upload_bytes` how large an upload may be. `workers` are processes that
    help where tables are built, if there are any: see `workers.helping`.
    """

    address: Address
    log: Log
    commits: GroupCommit | PartitionedCommit
    tables: Tables
    vault: Vault
    codec: Codec
    place_for_blobs: Blobs | None
    touch_step: int
    upload_bytes: int
    open_successor: "Callable[[str], Store] | None" = None
    workers: Workers | None = field(default=None, init=False)
    _rounds: Rounds = field(default_factory=Rounds, init=False)
    _former: "list[Store]" = field(default_factory=list, init=False)
    _followed: str = field(default="", init=False)
    _following: Lock = field(default_factory=Lock, init=False)
    _going_on: RLock = field(default_factory=RLock, init=False)
    """Held while the parts of a store are exchanged, so that nobody folds a log of one place into
    the tables of another."""

    @property
    def blobs(self) -> Blobs:
        """Return where large contents are. Raises `NoPlaceForBlobs`."""
        if self.place_for_blobs is None:
            raise NoPlaceForBlobs
        return self.place_for_blobs

    def most_bytes(self, cap: int | None) -> int:
        """Return how large an upload may be whose caller takes `cap` bytes, or says nothing."""
        return self.upload_bytes if cap is None else min(cap, self.upload_bytes)

    @property
    def folder(self) -> Folder:
        """Return what folds this store's log into its tables."""
        with self._going_on:
            return Folder(self.advance, catalog.ALL, self._rounds)

    @property
    def rebuilder(self) -> Rebuilder:
        """Return what builds this store's tables again."""
        return Rebuilder(self.advance)

    @property
    def advance(self) -> Advance:
        """Return what brings generations of this store's tables forward."""
        with self._going_on:
            return Advance(self.log, self.tables, self.codec, self.workers)

    @property
    def was_renumbered(self) -> bool:
        """Tell whether it has gone along to a log of other partitions: positions mean others."""
        return any(each.log.partitions != self.log.partitions for each in self._former)

    def partition(self, stream: str) -> int:
        """Return the partition that keeps a stream."""
        return streams.partition(stream, self.log.partitions)

    def history(self, stream: str) -> list[Past]:
        """Return what decisions need of the events of a stream, decoded: versions 1, 2, 3 …"""
        return self.codec.decode_history(stream, self.log.history(stream))

    def family(self, family: str) -> list[Event]:
        """Return the events of all streams of a family, decoded, in the order of the log."""
        return self.codec.decode_all(self.log.family(family))

    def here(self) -> "Store":
        """Return this store as it is now, for work that is of one place. Do not close it."""
        with self._going_on:
            here = copy(self)
        here.open_successor = None
        return here

    def follow(self, successor: str) -> None:
        """Go on at the address that this store has moved to, once that is open.

        Who is still reading here goes on reading here. Raises `Passing` while the other place is
        being filled: the move may yet be called off. Raises what opening a store raises.
        """
        with self._following:
            if self.open_successor is None or successor in (self.address.public, self._followed):
                return
            there = self.open_successor(successor)
            if any(head.state is State.FILLING for head in there.log.heads()):
                there.close()
                raise Passing(f"the store is on its way to {successor}")
            self._former.append(replace(self))
            self._followed = successor
            with self._going_on:
                self.workers = None  # they have the other place open
                self._rounds = Rounds()
                for each in fields(there):
                    if each.init:
                        setattr(self, each.name, getattr(there, each.name))

    def close(self) -> None:
        """Let go of files and connections."""
        self.log.close()
        self.tables.close()
        for former in self._former:
            former.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
