"""Moves a store while services write to it: all that takes long is done before it is sealed."""

from threading import Event
from time import monotonic
from typing import Final

from refold.domain.errors import ForeignTarget, Moved, Refused
from refold.domain.ports import State
from refold.infrastructure.address import Memory
from refold.infrastructure.moving.carrying import Carrier, Progress, check, head
from refold.infrastructure.moving.certificate import Certificate
from refold.infrastructure.moving.comparing import Comparison
from refold.infrastructure.moving.copying import certificate, certified
from refold.infrastructure.store import Store

SHORT: Final = 1_000
"""Events that may be left to carry and compare while neither store takes commands."""

ROUNDS: Final = 20
"""How often a target goes after a source before it is sealed, however fast that grows."""

LOOK_SECONDS: Final = 0.2
"""How long a follower waits between two looks at a source where nothing happens."""


def move(source: Store, target: Store, progress: Progress | None = None) -> Certificate:
    """Carry `source` over, compare, seal it, carry the rest, compare that, and open `target`.

    Services write to the source meanwhile, but for the time between its seal and the opening: the
    certificate's pause. As long as the target was not opened, a difference or an error opens the
    source again; killed in between, the move has to be run again. Raises what `copy` raises, and
    `Moved` when the source was sealed for another target.
    """
    began = monotonic()
    _check(source, target)
    opened_before = head(target).state is State.OPEN
    sealed_before = head(source).state is State.SEALED
    if sealed_before and opened_before:
        return certified(source, target, progress)  # it was done before
    carrier = Carrier(source, target, progress)
    comparison = Comparison(carrier)
    sealed, done = None, False
    try:
        _prepare(carrier, comparison)
        if not carrier.differences and not sealed_before:
            address = target.address.public
            source.log.change_state(State.SEALED, expected=State.OPEN, successor=address)
            sealed = monotonic()
        if not carrier.differences:
            _finish(carrier, comparison)
        done = not carrier.differences
    finally:
        if not done and (sealed or sealed_before):
            state = head(target).state
            if state is State.FILLING or (sealed and opened_before):
                source.log.change_state(State.OPEN, expected=State.SEALED)
    now = monotonic()
    return certificate(carrier, comparison, now - began, now - sealed if sealed else None)


def follow(
    source: Store, target: Store, stopped: Event, progress: Progress | None = None
) -> tuple[int, bool]:
    """Carry what is appended to `source` until `stopped`, and fold it at the target.

    Returns the position reached, and whether a cutover has ended it. Takes no commands at the
    target, which stays unfinished. Raises what `copy` raises, and `ForeignTarget` where the logs
    differ.
    """
    _check(source, target)
    carrier = Carrier(source, target, progress)
    while True:
        there = head(source)
        if there.position > carrier.position or not carrier.position:
            carrier.carry(there.position)
            carrier.carry_keys()
            if carrier.differences:
                raise ForeignTarget(carrier.differences[0])
            target.folder.catch_up(carrier.position)
            carrier.closes = False  # from now on it is closed, or a cutover has opened it
        elif there.state is State.SEALED:
            return carrier.position, True
        elif stopped.wait(LOOK_SECONDS):
            return carrier.position, False


def abort(source: Store, target: Store) -> None:
    """Let `source` take commands again after a move to `target` that was broken off.

    Raises `Refused` unless it is sealed for `target`, and that never took over.
    """
    address = target.address.public
    there = head(source)
    if there.state is not State.SEALED or there.successor != address:
        raise Refused(f"{source.address.public} is not sealed for a move to {address}")
    if head(target).state is State.OPEN:
        raise Refused(f"{address} has taken over: move it back instead")
    source.log.change_state(State.OPEN, expected=State.SEALED)


# --- steps ------------------------------------------------------------------------


def _check(source: Store, target: Store) -> None:
    if isinstance(target.address, Memory):
        raise Refused("a store cannot move to memory: it would be gone with the process")
    check(source, target, sealed_for=source.address.public)
    there = head(source)
    if there.state is State.SEALED and there.successor != target.address.public:
        raise Moved(there.successor or "an unknown address")


def _prepare(carrier: Carrier, comparison: Comparison) -> None:
    """Do all that takes long: carry and compare, until little is left."""
    _carry_all(carrier)
    if not carrier.differences:
        comparison.compare_whole()
    for _ in range(ROUNDS):
        left = head(carrier.source).position - comparison.position
        if carrier.differences or left <= SHORT:
            return
        comparison.compare_touched()


def _finish(carrier: Carrier, comparison: Comparison) -> None:
    """Carry and compare the rest of a sealed source, and open the target."""
    _carry_all(carrier)
    if not carrier.differences:
        comparison.compare_touched()
    carrier.finish()


def _carry_all(carrier: Carrier) -> None:
    [there], claims = carrier.source.log.claims()
    carrier.carry(there.position)
    carrier.carry_claims(claims, there.position)
    carrier.carry_keys()
