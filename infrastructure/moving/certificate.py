"""What a copy, a move or a verification found out: the proof that a person can read and keep."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from time import time_ns
from typing import Any

from refold.domain import times
from refold.domain.ports import Key, Tracked
from refold.domain.positions import NOWHERE, Positions
from refold.domain.texts import canonical_json
from refold.infrastructure.blobs.inventory import BlobProof
from refold.infrastructure.folding.digests import Digest
from refold.infrastructure.vault import digest
from refold.projections import catalog


@dataclass(frozen=True, slots=True)
class TableProof:
    """A query table of the target, as read back.

    `source` is the digest of the source's table; None when it could not be compared, because it
    stood at another position or was filled by another version.
    """

    name: str
    target: Digest
    source: Digest | None


def _version(table: str) -> int:
    """Return which version of its projection fills a table: another makes other rows."""
    projection = catalog.named(table)
    return projection.VERSION if projection else 0


@dataclass(frozen=True, slots=True)
class VaultProof:
    """The keys of sealed fields: how many, and the SHA-256 over them as they are kept, wrapped."""

    keys: int
    digest: str

    @classmethod
    def of(cls, keys: Sequence[Key]) -> "VaultProof":
        """Return the proof of keys in the order of their subjects."""
        return cls(len(keys), digest(keys))

    def document(self) -> dict[str, int | str]:
        """Return the proof as `--json` prints it."""
        return {"keys": self.keys, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class TrackingProof:
    """Up to where other applications' events are processed: how many, and the SHA-256 over them."""

    applications: int
    digest: str

    @classmethod
    def of(cls, trackings: Sequence[Tracked]) -> "TrackingProof":
        """Return the proof of trackings in the order of their applications."""
        text = canonical_json([list(each) for each in trackings])
        return cls(len(trackings), sha256(text.encode()).hexdigest())

    def document(self) -> dict[str, int | str]:
        """Return the proof as `--json` prints it."""
        return {"applications": self.applications, "digest": self.digest}


@dataclass(frozen=True, slots=True)
class End:
    """Up to where a partition was read, and its hash chain there."""

    partition: int
    position: int
    chain: bytes

    def document(self) -> dict[str, int | str]:
        """Return the end as `--json` prints it."""
        return {"partition": self.partition, "position": self.position, "chain": self.chain.hex()}


def positions(ends: Sequence[End]) -> Positions:
    """Return the positions of the ends of all partitions."""
    return Positions(tuple(each.position for each in ends))


@dataclass(frozen=True, slots=True)
class Renumbered:
    """The log that was numbered anew: its id and ends, and the SHA-256 over all families.

    That is of the chain of each family, over its events without their places.
    """

    log_id: str
    ends: Sequence[End]
    families: int
    digest: str

    def document(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "log_id": self.log_id,
            "partitions": [each.document() for each in self.ends],
            "families": self.families,
            "digest": self.digest,
        }


@dataclass(slots=True)
class Certificate:
    """The comparison of two stores up to the `ends` of their partitions.

    `sealed_before` tells up to which position the source's log was sealed before this run: what
    lies above is copied and compared, but nobody can say that it was not changed earlier. Whole
    `tables` are compared at `tables_at`, and the rows `touched` behind that one by one.
    `pause` is for how many seconds neither store took commands, None if that did not happen;
    `keys_left` are the keys of sealed fields that a source which was sealed by it still has.
    `source_id` and `target_id` are the ids of the stores, empty for a file. `seals` counts those
    that the chain was compared with, `made_at` is RFC 3339.
    """

    source: str
    target: str
    log_id: str
    source_id: str = ""
    target_id: str = ""
    made_at: str = field(default_factory=lambda: times.text(time_ns() // 1_000))
    ends: Sequence[End] = ()
    seals: int = 0
    sealed_before: Positions = NOWHERE
    types: dict[str, int] = field(default_factory=dict)
    tables: Sequence[TableProof] = ()
    tables_at: Positions = NOWHERE
    touched: int = 0
    claims: int = 0
    vault: VaultProof | None = None
    trackings: TrackingProof | None = None
    blobs: BlobProof = field(default_factory=BlobProof)
    differences: list[str] = field(default_factory=list)
    seconds: float = 0.0
    pause: float | None = None
    keys_left: int = 0
    renumbered: Renumbered | None = None

    @property
    def positions(self) -> Positions:
        """Return up to where both stores were read."""
        return positions(self.ends)

    @property
    def equal(self) -> bool:
        """Tell whether nothing that was compared differs."""
        return not self.differences

    def document(self) -> dict[str, Any]:
        """Return the certificate as `--json` prints it."""
        return {
            "equal": self.equal,
            "source": self.source,
            "target": self.target,
            "source_id": self.source_id,
            "target_id": self.target_id,
            "log_id": self.log_id,
            "made_at": self.made_at,
            "partitions": [each.document() for each in self.ends],
            "renumbered_from": self.renumbered.document() if self.renumbered else None,
            "seals": self.seals,
            "sealed_before": self.sealed_before.document(),
            "types": dict(sorted(self.types.items())),
            "tables": [
                {
                    "name": table.name,
                    "rows": table.target.rows,
                    "digest": table.target.hex,
                    "version": _version(table.name),
                    "compared": table.source is not None,
                }
                for table in self.tables
            ],
            "tables_at": self.tables_at.document(),
            "rows_touched_since": self.touched,
            "claims": self.claims,
            "vault": self.vault.document() if self.vault else None,
            "trackings": self.trackings.document() if self.trackings else None,
            "blobs": self.blobs.document(),
            "differences": self.differences,
            "seconds": round(self.seconds, 3),
            "pause_seconds": None if self.pause is None else round(self.pause, 3),
            "keys_left_at_source": self.keys_left,
        }
