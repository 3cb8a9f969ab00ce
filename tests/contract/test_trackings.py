"""Trackings: up to where other applications' events are processed. They go forward with the log."""

from collections.abc import Callable

import pytest

from refold.domain.errors import AlreadyTracked, CommandIdTaken, Conflict, Filling
from refold.domain.ports import (
    Appended,
    Command,
    Log,
    NewEvent,
    Snapshot,
    State,
    Tracked,
    Tracking,
    Write,
)
from refold.infrastructure.moving import copying, cutover, verifying
from refold.infrastructure.store import Store

UP = "Orders"


def command(id: str, stream: str | None, position: int, expected: int = 0) -> Command:
    event = NewEvent("kept", 1, b"{}", b"{}")
    writes = (Write(stream, expected, (event,)),) if stream else ()
    return Command(id, writes, trackings=(Tracking(UP, position),))


# --- appending --------------------------------------------------------------------------


def test_a_tracking_goes_in_with_the_events_that_came_of_it(log: Log) -> None:
    log.append([command("1", "a-1", 5)])

    assert log.tracked(UP) == Tracked(UP, 5, "1")
    assert log.tracked("orders") is None
    assert [each.command_id for each in log.stream("a-1")] == ["1"]


def test_a_tracking_can_go_in_alone(log: Log) -> None:
    log.append([command("1", "a-1", 5)])

    outcomes = log.append([command("2", None, 9), command("3", "a-2", 10)])

    assert outcomes == [Appended(0, 1, "", 0), Appended(0, 2, "a-2", 1)]
    assert log.tracked(UP) == Tracked(UP, 10, "3")


@pytest.mark.parametrize("position", [4, 5])
def test_a_tracking_that_is_not_ahead_is_refused_with_its_events(log: Log, position: int) -> None:
    log.append([command("1", "a-1", 5)])

    refused, alone = log.append([command("2", "a-2", position), command("3", None, position)])

    assert isinstance(refused, AlreadyTracked)
    assert isinstance(alone, AlreadyTracked)
    assert (refused.application, refused.position, refused.stands) == (UP, position, 5)
    assert log.stream("a-2") == []
    assert log.tracked(UP) == Tracked(UP, 5, "1")


def test_events_that_conflict_leave_the_tracking_where_it_was(log: Log) -> None:
    log.append([command("1", "a-1", 5)])

    [conflict] = log.append([command("2", "a-1", 6)])

    assert isinstance(conflict, Conflict)
    assert log.tracked(UP) == Tracked(UP, 5, "1")


def test_of_two_members_of_one_batch_the_first_moves_the_tracking(log: Log) -> None:
    first, second, third = log.append(
        [command("1", "a-1", 5), command("2", "a-2", 5), command("3", "a-3", 6)]
    )

    assert isinstance(second, AlreadyTracked)
    assert (first, third) == (Appended(0, 1, "a-1", 1), Appended(0, 2, "a-3", 1))


def test_a_retry_gives_the_first_outcome_with_events_and_without(log: Log) -> None:
    with_events, alone = command("1", "a-1", 5), command("2", None, 7)
    log.append([with_events, alone])

    outcomes = log.append([with_events, alone])

    assert outcomes == [Appended(0, 1, "a-1", 1, again=True), Appended(0, 1, "", 0, again=True)]
    assert log.tracked(UP) == Tracked(UP, 7, "2")


def test_a_tracking_alone_cannot_take_the_id_of_events(log: Log) -> None:
    log.append([command("1", "a-1", 5)])

    [outcome] = log.append([command("1", None, 6)])

    assert isinstance(outcome, CommandIdTaken)


def test_a_closed_store_takes_no_tracking(log: Log) -> None:
    log.change_state(State.FILLING)

    [outcome] = log.append([command("1", None, 5)])

    assert isinstance(outcome, Filling)
    assert log.tracked(UP) is None


def test_odd_names_are_told_in_the_order_of_their_code_points(log: Log) -> None:
    names = ["", "é", "a'b", "Z", "\U0001f600", '"', "z"]

    log.append([Command("1", (), trackings=tuple(Tracking(each, 1) for each in names))])

    assert [each.application for each in log.claims().trackings] == sorted(names)


# --- copies -----------------------------------------------------------------------------


def test_a_copy_carries_trackings_and_counts_them(source: Store, target: Store) -> None:
    source.log.append([command("1", "a-1", 5)])

    certificate = copying.copy(source, target)

    assert certificate.equal
    assert certificate.document()["trackings"]["applications"] == 1
    assert target.log.claims().trackings == [Tracked(UP, 5, "1")]
    assert verifying.verify(target).document()["trackings"]["applications"] == 1


def test_a_tracking_that_moved_without_events_is_carried_by_the_next_copy(
    source: Store, target: Store
) -> None:
    copying.copy(source, target)
    source.log.append([command("1", None, 5)])

    certificate = copying.copy(source, target)

    assert certificate.equal
    assert target.log.tracked(UP) == Tracked(UP, 5, "1")
    assert target.log.heads()[0].state is State.OPEN


def test_a_target_that_went_on_by_itself_is_not_equal(source: Store, target: Store) -> None:
    source.log.append([command("1", None, 5)])
    copying.copy(source, target)
    target.log.append([command("2", None, 6)])

    certificate = copying.copy(source, target)

    assert certificate.differences == ["the trackings differ"]
    assert verifying.compare(source, target).differences == ["the trackings differ"]


def test_a_target_that_is_ahead_in_some_keeps_its_own(source: Store, target: Store) -> None:
    copying.copy(source, target)
    source.log.append([command("1", None, 5)])
    ahead = Command("2", (), trackings=(Tracking("Elsewhere", 7),))
    target.log.append([ahead])

    certificate = copying.copy(source, target)

    assert certificate.differences == ["the trackings differ"]
    assert target.log.claims().trackings == [Tracked("Elsewhere", 7, "2")]
    assert target.log.heads()[0].state is State.OPEN


def test_a_move_carries_trackings_there_and_back(source: Store, target: Store) -> None:
    source.log.append([command("1", "a-1", 5)])

    there = cutover.move(source, target)
    target.log.append([command("2", None, 6)])
    again = cutover.move(source, target)
    back = cutover.move(target, source)

    assert there.equal
    assert again.equal
    assert back.equal
    assert source.log.claims().trackings == [Tracked(UP, 6, "2")]


# --- snapshots --------------------------------------------------------------------------


def test_snapshots_are_kept_beside_the_log_all_or_none(log: Log) -> None:
    first, second = Snapshot("a-1", 0, "état", b"\0"), Snapshot("a-1", 10, "t", b"")

    assert log.keep_snapshots([first, second])
    assert not log.keep_snapshots([Snapshot("a-1", 11, "t", b""), first])

    assert log.snapshots("a-1", -1, 2**62, 5) == [second, first]
    assert log.snapshots("a-1", -1, 2**62, 1) == [second]
    assert log.snapshots("a-1", 0, 10, 5) == [second]
    assert log.snapshots("a-1", -1, 9, 5) == [first]
    assert log.snapshots("a-2", -1, 2**62, 5) == []


def test_a_copy_leaves_snapshots_behind(source: Store, target: Store) -> None:
    source.log.keep_snapshots([Snapshot("file-one", 1, "t", b"s")])

    certificate = copying.copy(source, target)

    assert certificate.equal
    assert target.log.snapshots("file-one", -1, 2**62, 1) == []


# --- reading a stream -------------------------------------------------------------------


def test_a_stream_can_be_read_behind_a_version(new_log: Callable[[], Log]) -> None:
    log = new_log()
    event = NewEvent("kept", 1, b"{}", b"{}")
    log.append([Command("1", (Write("a-1", 0, (event, event, event)),))])

    assert [each.version for each in log.stream("a-1", 1)] == [2, 3]
    assert log.stream("a-1", 3) == []
