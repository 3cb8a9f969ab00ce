"""Verifies one store against its own seals, or two stores against each other."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from refold.domain.errors import BrokenLog, Unreadable
from refold.domain.positions import NOWHERE, Positions
from refold.infrastructure.blobs.inventory import BlobProof, inventory
from refold.infrastructure.blobs.references import References
from refold.infrastructure.chain import Walk, pages
from refold.infrastructure.folding.digests import Digest
from refold.infrastructure.moving.certificate import (
    Certificate,
    End,
    TableProof,
    TrackingProof,
    VaultProof,
    positions,
)
from refold.infrastructure.moving.heads import sealed_up_to
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store
from refold.projections import catalog


@dataclass(slots=True)
class Report:
    """What one store says about itself.

    `bad` is the first block that its seal does not fit, `unfoldable` why the query tables cannot
    be those of this log.

    Events above `sealed_before` were not sealed before this run: they are dense and chained now,
    but nobody can say that they were not changed earlier.
    """

    store: str
    log_id: str
    vault: VaultProof
    trackings: TrackingProof
    ends: list[End] = field(default_factory=list)
    sealed_before: Positions = NOWHERE
    types: Counter[str] = field(default_factory=Counter)
    tables: Sequence[tuple[str, Digest]] = ()
    blobs: BlobProof = field(default_factory=BlobProof)
    bad: BrokenLog | None = None
    unfoldable: Unreadable | None = None
    seconds: float = 0.0

    @property
    def positions(self) -> Positions:
        """Return up to where the log was read."""
        return positions(self.ends)

    @property
    def ok(self) -> bool:
        """Tell whether blocks fit their seals, no blob is missing, and the tables fit the log."""
        return not (self.bad or self.unfoldable or self.blobs.differences)

    def document(self) -> dict[str, Any]:
        """Return the report as `--json` prints it."""
        bad = self.bad
        return {
            "ok": self.ok,
            "store": self.store,
            "log_id": self.log_id,
            "partitions": [each.document() for each in self.ends],
            "sealed_before": self.sealed_before.document(),
            "types": dict(sorted(self.types.items())),
            "tables": [
                {"name": name, "rows": digest.rows, "digest": digest.hex}
                for name, digest in self.tables
            ],
            "bad_block": {
                "partition": bad.partition,
                "first": bad.first,
                "last": bad.last,
                "reason": str(bad),
            }
            if bad
            else None,
            "vault": self.vault.document(),
            "trackings": self.trackings.document(),
            "blobs": self.blobs.document(),
            "unfoldable": str(self.unfoldable) if self.unfoldable else None,
            "seconds": round(self.seconds, 3),
        }


def verify(store: Store, progress: Progress = quietly) -> Report:
    """Walk over the whole log, compare all seals, and seal what is not sealed yet."""
    started = monotonic()
    vault = VaultProof.of(store.log.keys())
    trackings = TrackingProof.of(store.log.claims().trackings)
    report = Report(store.address.public, store.log.identity().log_id, vault, trackings)
    report.sealed_before = sealed_up_to(store)
    head = store.advance.head()
    goal = head.joined(report.sealed_before)
    found, referring = inventory(store, progress), References(store.codec)
    done = 0
    try:
        for partition, end in enumerate(goal.each):
            walk = Walk(partition, store.log.seals(partition))
            try:
                for page in pages(store.log, partition, 0, end):
                    walk.over(page)
                    report.types.update(record.type for record in page)
                    referring.over(page)
                    done += len(page)
                    progress("verify", done, head.total)
            finally:
                report.ends.append(End(partition, walk.position, walk.chain))
            store.log.add_seals(walk.fresh)
        found.add(sorted(referring.all()))
        found.list_others(store.place_for_blobs)
        report.blobs = found.proof()
        store.folder.catch_up(head)
        report.tables = [(each.NAME, store.folder.digest(each)[1]) for each in catalog.ALL]
    except BrokenLog as broken:
        report.bad = broken
    except Unreadable as error:  # also where the tables remember another event than there is
        report.unfoldable = error
    report.seconds = monotonic() - started
    return report


def compare(first: Store, second: Store, progress: Progress = quietly) -> Certificate:
    """Verify both stores and compare them, as read back from each: all that a copy carries."""
    started = monotonic()
    ours, theirs = verify(first, progress), verify(second, progress)
    differences = [
        f"{report.store}: {problem}"
        for report in (ours, theirs)
        for problem in (report.bad, report.unfoldable)
        if problem
    ]
    differences += [
        f"{report.store}: {problem}"
        for report in (ours, theirs)
        for problem in report.blobs.differences
    ]
    if ours.log_id != theirs.log_id:
        differences.append(f"the logs are {ours.log_id} and {theirs.log_id}")
    if ours.positions != theirs.positions:
        differences.append(f"the logs end at {ours.positions} and {theirs.positions}")
    elif ours.ends != theirs.ends:
        differences.append(f"the chains differ at position {ours.positions}")
    claims, others = (store.log.claims().claims for store in (first, second))
    if claims != others:
        differences.append("the claims differ")
    if ours.vault != theirs.vault:
        differences.append("the vaults differ")
    if ours.trackings != theirs.trackings:
        differences.append("the trackings differ")
    comparable = ours.positions == theirs.positions
    originals = dict(ours.tables) if comparable else {}
    tables = [TableProof(name, digest, originals.get(name)) for name, digest in theirs.tables]
    differences += [
        f"table {table.name} differs"
        for table in tables
        if table.source not in (None, table.target)
    ]
    return Certificate(
        source=ours.store,
        target=theirs.store,
        source_id=first.log.identity().store_id,
        target_id=second.log.identity().store_id,
        log_id=ours.log_id,
        ends=theirs.ends,
        seals=_common_seals(first, second),
        sealed_before=Positions.lowest([ours.sealed_before, theirs.sealed_before]),
        types=dict(theirs.types),
        tables=tables,
        tables_at=theirs.positions,
        claims=len(others),
        vault=theirs.vault,
        trackings=theirs.trackings,
        blobs=theirs.blobs,
        differences=differences,
        seconds=monotonic() - started,
    )


def _common_seals(first: Store, second: Store) -> int:
    partitions = range(min(first.log.partitions, second.log.partitions))
    return sum(len({*first.log.seals(each)} & {*second.log.seals(each)}) for each in partitions)
