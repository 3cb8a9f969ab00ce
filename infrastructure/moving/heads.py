"""Where the logs of two stores stand, and whether one may be copied to the other."""

from contextlib import suppress
from typing import NamedTuple

from refold.domain.errors import EndsElsewhere, Filling, ForeignTarget, Moved, Refused
from refold.domain.ports import State, ends
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.store import Store


class LogHead(NamedTuple):
    """Where the log of a store stands, and what it does with commands, in all partitions alike."""

    positions: Positions
    state: State
    successor: str | None


def head(store: Store) -> LogHead:
    """Return where the log of a store stands."""
    heads = store.log.heads()
    positions = ends(heads)
    return LogHead(positions, heads[0].state, heads[0].successor)


def open_filled(target: Store, holder: str | None, at: Positions | None) -> None:
    """Let a target that was filled for `holder` take commands, if its log ends `at` positions.

    Raises `ForeignTarget` where it does not, or nobody knows where: another has filled it.
    """
    if at is not None:
        with suppress(EndsElsewhere):
            target.log.change_state(State.OPEN, expected=(State.FILLING, holder), at=at)
            return
    raise ForeignTarget(f"{target.address.public} was filled further meanwhile")


def held_by_a_move(address: str, holder: str) -> Refused:
    """Return what is told of a target that a move from another store fills."""
    return Refused(
        f"{address} is being filled by a move from {holder}, which has to be done or called off"
        " first"
    )


def sealed_up_to(store: Store) -> Positions:
    """Return up to where a log is sealed."""
    partitions = range(store.log.partitions)
    return Positions(tuple(chain.sealed(store.log.seals(each)) for each in partitions))


def check_source(source: Store) -> None:
    """Raise unless `source` may be copied anywhere: `Filling`, `NoVaultKey`, `WrongVaultKey`."""
    if head(source).state is State.FILLING:
        raise Filling
    if source.log.keys():
        source.vault.take_over(source.vault)


def check(source: Store, target: Store, *, sealed_for: str | None) -> None:
    """Raise a `Refused` unless `source` may be copied to `target`.

    A sealed target is filled only on the way back, by a move of the store that it moved to.
    """
    check_source(source)
    ours, theirs = source.log.identity(), target.log.identity()
    from_head, to_head = head(source), head(target)
    address = target.address.public
    if ours.store_id == theirs.store_id:
        raise Refused(f"{address} is the source itself")
    if to_head.state is State.SEALED and to_head.successor != sealed_for:
        raise Moved(to_head.successor or "an unknown address")
    if to_head.state is State.FILLING and to_head.successor not in (None, sealed_for):
        raise held_by_a_move(address, to_head.successor)
    if source.log.partitions != target.log.partitions:
        raise Refused(
            f"{address} has {target.log.partitions} partitions, the source has"
            f" {source.log.partitions}: refold move --partitions {target.log.partitions} re-numbers"
        )
    if ours.log_id != theirs.log_id and to_head.positions.total:
        raise ForeignTarget(f"{address} holds {to_head.positions.total} events of another history")
    if source.log.keys():
        target.vault.take_over(source.vault)
    moved_there = from_head.state is State.SEALED and from_head.successor == address
    moved_there = moved_there and to_head.state is not State.FILLING
    if not from_head.positions.covers(to_head.positions) and not moved_there:
        raise ForeignTarget(
            f"{address} goes on to position {to_head.positions}, the source ends at"
            f" {from_head.positions}"
        )
