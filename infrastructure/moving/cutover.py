"""Moves a store while services write to it: all that takes long is done before it is sealed."""

from contextlib import suppress
from math import inf
from threading import Event
from time import monotonic
from typing import Final

from refold.domain.errors import ForeignTarget, Moved, Refused
from refold.domain.ports import Log, State, ends
from refold.domain.positions import Positions
from refold.infrastructure.address import Memory
from refold.infrastructure.failpoints import reach
from refold.infrastructure.moving import heads
from refold.infrastructure.moving.carrying import Carrier
from refold.infrastructure.moving.certificate import Certificate
from refold.infrastructure.moving.comparing import Comparison
from refold.infrastructure.moving.copying import certificate, certified
from refold.infrastructure.moving.heads import LogHead, check, head
from refold.infrastructure.progress import Progress, quietly
from refold.infrastructure.store import Store

SHORT: Final = 1_000
"""Events that may be left to carry and compare while neither store takes commands."""

SHORT_SECONDS: Final = 0.1
"""How long it may take to carry what is left: few events may refer to large contents."""

GAIN: Final = 0.9
"""How much of what was left may be left again; with more, the source grows too fast to wait."""

FOLLOWED_AT_ONCE: Final = 50_000
"""Events that a follower carries before it looks whether it is to stop."""

FOLD_SECONDS: Final = 1.0
"""How often a follower folds the target at most: a cutover compares its tables in between."""

LOOK_SECONDS: Final = 0.2
"""How long a follower waits between two looks at a source where nothing happens."""


def move(source: Store, target: Store, progress: Progress = quietly) -> Certificate:
    """Carry `source` over, compare, seal it, carry the rest, compare that, and open `target`.

    Services write to the source meanwhile, but for the time between its seal and the opening: the
    certificate's pause. As long as the target was not opened, a difference or an error opens the
    source again; killed in between, the move has to be run again. Raises what `copy` raises, and
    `Moved` when the source was sealed for another target.
    """
    began = monotonic()
    before = head(target)  # what is found out about it from here on holds only if it stays so
    _check(source, target)
    if head(source).state is State.SEALED and before.state is State.OPEN:
        return certified(source, target, progress)  # it was done before
    carrier = Carrier(source, target, progress)
    comparison = Comparison(carrier)
    carrier.close(before)
    reach("cutover: closed")
    sealed, done = None, False
    try:
        _prepare(carrier, comparison)
        if not carrier.differences:
            sealed = monotonic()
            seal(source, target.address.public)
            reach("cutover: sealed")
            _finish(carrier, comparison)
            reach("cutover: opened")
        done = not carrier.differences
    finally:
        if not done:
            call_off(source, target, before)
    now = monotonic()
    return certificate(carrier, comparison, now - began, now - sealed if sealed else None)


def follow(
    source: Store, target: Store, stopped: Event, progress: Progress = quietly
) -> tuple[Positions, bool]:
    """Carry what is appended to `source` until `stopped`, and fold it at the target.

    Returns the positions reached, and whether a cutover to the target has ended it. The target
    takes no commands and stays unfinished. Raises what `copy` raises, and `ForeignTarget` where the
    logs differ.
    """
    before = head(target)
    _check(source, target)
    carrier = Carrier(source, target, progress)
    if before.state is not State.OPEN or head(source).state is State.OPEN:
        carrier.close(before)
    folded, folded_at = Positions(()), 0.0
    while not stopped.is_set():
        there = head(source)
        if not folded.covers(carrier.positions) and monotonic() - folded_at >= FOLD_SECONDS:
            target.folder.catch_up(carrier.positions)
            folded, folded_at = carrier.positions, monotonic()
        if there.positions == carrier.positions and head(target).state is State.FILLING:
            target.log.create_indexes()
            stopped.wait(LOOK_SECONDS)
            continue
        try:
            carrier.carry(carrier.positions.towards(there.positions, FOLLOWED_AT_ONCE))
        except ForeignTarget:  # a cutover was faster with these, and has opened the target
            if not _is_done(source, target):
                raise
        if carrier.differences:
            raise ForeignTarget(carrier.differences[0])
        carrier.clear_tables()
        if head(target).state is not State.FILLING:
            return head(source).positions, _is_done(source, target)
    return carrier.positions, False


def _is_done(source: Store, target: Store) -> bool:
    there = head(source)
    is_sealed = there.state is State.SEALED and there.successor == target.address.public
    return is_sealed and head(target).state is State.OPEN


def abort(source: Store, target: Store) -> None:
    """Give up a move to `target` that was broken off: `source` takes commands, again or as ever.

    Nobody who is still at that move can open the target then. Raises `Refused` unless there is
    such a move, and the target never took over.
    """
    address = target.address.public
    there, here = head(source), head(target)
    held = (State.FILLING, source.address.public)
    if there.state is State.OPEN and (here.state, here.successor) == held:
        if here.positions.total:  # services may have been there before: it still says where to go
            target.log.change_state(State.SEALED, expected=held, successor=source.address.public)
        else:
            target.log.change_state(State.FILLING, expected=held)
        return
    check_sealed(source, address)
    is_ours = here.state is State.SEALED and here.successor == source.address.public
    is_same = source.log.partitions == target.log.partitions  # else positions tell nothing
    is_ahead = is_same and not there.positions.covers(here.positions)
    if (here.state, here.successor) == held and is_ahead:
        target.log.change_state(State.OPEN, expected=held)  # a move closed it again, and was killed
    if not is_ours and (here.state is not State.FILLING or is_ahead):
        raise Refused(f"{address} has taken over: move it back instead")
    call_off(source, target)


def reopen(source: Store, address: str) -> None:
    """Let `source` take commands again after a move to `address`, where no store is any more.

    What went in there is given up. That nobody is there is for the caller to find out, by
    `check_lost` too: a store that is there after all would go on beside this one. Raises `Refused`
    unless the source is sealed for that address.
    """
    check_sealed(source, address)
    source.log.change_state(State.OPEN, expected=(State.SEALED, address))


def check_lost(source: Store, target: Log, address: str) -> None:
    """Raise `Refused` where `target`, to which `source` moved at `address`, is not lost, but there.

    A log that was numbered anew has an id of its own, and the same commands.
    """
    partitions = range(source.log.partitions)
    firsts = (event for each in partitions for event in source.log.page(each, 0, 1))
    is_same = target.identity().log_id == source.log.identity().log_id
    if is_same or any(target.outcome(event.command_id) for event in firsts):
        heads = target.heads()
        where = f"{address} is there, at position {ends(heads)}"
        if heads[0].state is State.OPEN:
            raise Refused(f"{where}, and takes commands: move it back instead")
        raise Refused(f"{where}: --abort without --target-is-lost calls the move off")


def check_begun(source: Store, target: Store) -> None:
    """Raise `Refused` unless a move from `source` to `target` is under way, or done."""
    there, here = head(source), head(target)
    is_sealed = (there.state, there.successor) == (State.SEALED, target.address.public)
    is_held = (here.state, here.successor) == (State.FILLING, source.address.public)
    if not is_sealed and not is_held:
        raise no_move(source.address.public, target.address.public)


def no_move(source: str, target: str) -> Refused:
    """Return what is said of a cutover where no move was begun."""
    return Refused(
        f"no move from {source} to {target} was begun: refold move --follow begins one, and refold"
        " move does all at once"
    )


def check_source(source: Store, address: str) -> None:
    """Raise what `move` to `address` raises for its source alone, before there is a target."""
    there = head(source)
    if there.state is State.SEALED and there.successor != address:
        raise Moved(there.successor or "an unknown address")
    heads.check_source(source)


def check_sealed(source: Store, address: str) -> None:
    """Raise `Refused` unless `source` is sealed for a move to `address`."""
    there = head(source)
    if there.state is not State.SEALED or there.successor != address:
        raise Refused(f"{source.address.public} is not sealed for a move to {address}")


def call_off(source: Store, target: Store, before: LogHead | None = None) -> None:
    """Open the source again, unless somebody has opened the target: its head decides.

    The target is then sealed for the source: it is filled by another move of that, and by nothing
    else. One that was open `before` is so again when the source was not sealed, and nothing came.
    """
    there, here = head(source), head(target)
    address = source.address.public
    if there.state is State.OPEN:
        was_open = before and before.state is State.OPEN and before.positions == here.positions
        if was_open and here.state is State.FILLING:
            target.log.change_state(State.OPEN, expected=(State.FILLING, address))
        return
    if there.successor != target.address.public:
        return
    if here.state is State.FILLING:
        with suppress(Refused):  # somebody was faster; then it is as they left it
            target.log.change_state(State.SEALED, expected=State.FILLING, successor=address)
        here = head(target)
    if here.state is State.SEALED and here.successor == address:
        source.log.change_state(State.OPEN, expected=State.SEALED)


def seal(source: Store, address: str) -> None:
    """Seal `source` for `address`, unless it is already. Raises `Moved` if for another one."""
    there = head(source)
    if there.state is State.SEALED and there.successor == address:
        return
    source.log.change_state(State.SEALED, expected=State.OPEN, successor=address)


def is_worth_a_round(left: int, before: float) -> bool:
    """Tell whether so many events are better carried before the seal; `before` were left before."""
    return left > SHORT and left <= GAIN * before


# --- steps ------------------------------------------------------------------------


def _check(source: Store, target: Store) -> None:
    if isinstance(target.address, Memory):
        raise Refused("a store cannot move to memory: it would be gone with the process")
    check_source(source, target.address.public)
    check(source, target, sealed_for=source.address.public)


def _prepare(carrier: Carrier, comparison: Comparison) -> None:
    """Do all that takes long: carry and compare, until little is left, or no less each time."""
    _carry_all(carrier)
    carrier.check_blobs()
    if not carrier.differences:
        comparison.compare_whole()
        carrier.clear_tables()
    before = inf
    while not carrier.differences:
        left = head(carrier.source).positions.total - comparison.positions.total
        if not is_worth_a_round(left, before):
            break
        before = left
        comparison.compare_touched()
    seconds = inf
    while not carrier.differences:
        began, before = monotonic(), seconds
        _carry_all(carrier)
        seconds = monotonic() - began
        if not SHORT_SECONDS < seconds <= GAIN * before:
            break


def _finish(carrier: Carrier, comparison: Comparison) -> None:
    """Carry and compare the rest of a sealed source, and open the target."""
    _carry_all(carrier)
    carrier.check_keys()
    if not carrier.differences:
        comparison.compare_touched()
    reach("cutover: compared")
    carrier.finish()


def _carry_all(carrier: Carrier) -> None:
    there = carrier.source.log.claims()
    carrier.carry(there.positions)
    carrier.target.log.create_indexes()
    carrier.carry_claims(there.claims, there.trackings, there.positions)
    carrier.carry_keys()  # also those that were erased without an event behind it
