"""Copies a store to another place, and proves that nothing was lost."""

from time import monotonic

from refold.domain.ports import State
from refold.infrastructure.moving.carrying import Carrier
from refold.infrastructure.moving.certificate import Certificate, End
from refold.infrastructure.moving.comparing import Comparison
from refold.infrastructure.moving.heads import check, head
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store


def copy(source: Store, target: Store, progress: Progress = quietly) -> Certificate:
    """Bring `target` to where `source` stands now, and compare them there.

    The source stays open. The target takes no commands until it is equal. Raises `ForeignTarget`
    when it holds events that the source does not have, `Moved` when it is sealed, `Filling` when
    the source itself is unfinished, `BrokenLog` when the source is damaged; what differs otherwise
    is in the certificate.
    """
    check(source, target, sealed_for=None)
    return certified(source, target, progress)


def certified(source: Store, target: Store, progress: Progress = quietly) -> Certificate:
    """Carry over what is missing, compare everything, and open the target if it is equal."""
    began = monotonic()
    carrier = Carrier(source, target, progress)
    comparison = Comparison(carrier)
    there = source.log.claims()
    carrier.carry(there.positions)
    target.log.create_indexes()
    carrier.carry_claims(there.claims, there.trackings, there.positions)
    carrier.carry_keys()
    carrier.check_keys()
    if not carrier.differences:
        comparison.compare_whole(there.positions)
    carrier.check_blobs()
    carrier.finish()
    return certificate(carrier, comparison, monotonic() - began)


def certificate(
    carrier: Carrier, comparison: Comparison, seconds: float, pause: float | None = None
) -> Certificate:
    """Return what was found out; `pause` tells for how long neither store took commands."""
    return Certificate(
        source=carrier.source.address.public,
        target=carrier.target.address.public,
        log_id=carrier.source.log.identity().log_id,
        source_id=carrier.source.log.identity().store_id,
        target_id=carrier.target.log.identity().store_id,
        ends=[End(each.partition, each.position, each.chain) for each in carrier.walks],
        seals=sum(len(each.seals) for each in carrier.walks),
        sealed_before=carrier.sealed_before,
        types=dict(carrier.types),
        tables=comparison.proofs,
        tables_at=comparison.compared_at,
        touched=comparison.touched,
        claims=carrier.claims,
        trackings=carrier.trackings,
        vault=carrier.vault,
        blobs=carrier.blobs.proof(),
        differences=carrier.differences,
        seconds=seconds,
        pause=pause,
        keys_left=carrier.vault.keys if head(carrier.source).state is State.SEALED else 0,
    )
