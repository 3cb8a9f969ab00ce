"""What every log promises, whichever engine keeps the events (see `domain/ports.py`).

Each test runs once for each engine. None is excused: a promise that one of them cannot keep does
not belong in the port.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest

from refold.domain.errors import (
    Claimed,
    CommandIdTaken,
    Conflict,
    EndsElsewhere,
    Filling,
    Moved,
    Refused,
)
from refold.domain.ports import (
    Appended,
    Claim,
    Command,
    Head,
    History,
    Log,
    NewEvent,
    Outcome,
    Recorded,
    Seal,
    State,
    Write,
)
from refold.domain.positions import Positions
from refold.infrastructure import chain, limits
from refold.infrastructure.open import open_store

ADA, BOB = "user-ada", "user-bob"
MINUTE = 60_000_000
NOW = 1_700_000_000_000_000


# --- order --------------------------------------------------------------------------


def test_events_come_back_in_the_order_they_were_appended(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b"first", b"second"))])
    log.append([command("2", write(BOB, 0, b"of another"))])
    log.append([command("3", write(ADA, 2, b"third"))])

    assert data(log.stream(ADA)) == [b"first", b"second", b"third"]
    assert data(everything(log)) == [b"first", b"second", b"of another", b"third"]


def test_an_event_comes_back_as_it_was_given(log: Log) -> None:
    odd = NewEvent("user.renamed", 7, b'{"name":"Ada"}', b'{"actor":"bob"}')
    log.append([command("1", Write(ADA, 0, (odd, odd)))])

    [first, second] = log.stream(ADA)

    assert first == Recorded(
        0, 1, ADA, 1, *("user.renamed", 7, b'{"name":"Ada"}', b'{"actor":"bob"}'),
        first.recorded_at, "1", 0,
    )  # fmt: skip
    assert second == first._replace(position=2, version=2, command_no=1)
    assert type(first.data) is bytes
    assert log.page(0, 0, 9) == log.family(ADA) == [first, second]


def test_a_history_tells_what_decisions_need_of_each_event(log: Log) -> None:
    odd = NewEvent("user.renamed", 7, b'{"name":"Ada"}', b'{"actor":"bob"}')
    log.append([command("1", write(BOB, 0, b"")), command("2", Write(ADA, 0, (odd, odd)))])
    log.append([command("3", write(BOB, None, b"")), command("4", write(ADA, None, b"last"))])

    told = log.history(ADA)

    assert told == History(
        types=("user.renamed", "user.renamed", "thing.happened"),
        schemas=(7, 7, 1),
        datas=(b'{"name":"Ada"}', b'{"name":"Ada"}', b"last"),
        positions=(2, 3, 5),
        command_ids=("2", "2", "4"),
        command_nos=(0, 1, 0),
    )
    assert {type(each) for each in told.datas} == {bytes}


def test_a_history_is_in_the_order_of_its_versions(log: Log) -> None:
    streams = [f"user-{n}" for n in range(3)]
    for n in range(60):
        name = streams[n % 7 % 3]
        log.append([command(f"{n}", write(name, None, b"%d" % n, b"%d again" % n))])

    for name in streams:
        records = log.stream(name)
        assert log.history(name) == history(records)
        assert [record.version for record in records] == [*range(1, len(records) + 1)]


def test_an_outcome_tells_the_last_event_of_its_command(log: Log) -> None:
    outcomes = log.append(
        [
            command("1", write(ADA, 0, b"", b""), write(BOB, 0, b"")),
            command("2", write(ADA, None, b"", b"")),
        ]
    )

    assert outcomes == [Appended(0, 3, BOB, 1), Appended(0, 5, ADA, 4)]


def test_no_commands_are_no_error(log: Log) -> None:
    assert log.append([]) == []
    assert everything(log) == []
    assert log.heads() == [Head(0, 0, State.OPEN, None)]


@pytest.mark.parametrize("writes", [(), (Write(ADA, 0, ()),)], ids=["no write", "no event"])
def test_a_command_without_events_is_refused_and_leaves_nothing_behind(
    log: Log, writes: tuple[Write, ...]
) -> None:
    with pytest.raises(Refused, match="command 2 needs events"):
        log.append([command("1", write(BOB, 0, b"")), Command("2", writes)])

    assert everything(log) == []


@pytest.mark.parametrize("expected", [0, None], ids=["exact", "any"])
def test_a_batch_may_have_hundreds_of_commands(log: Log, expected: int | None) -> None:
    commands = [
        command(f"{n}", write(f"user-{n}", expected, b"%d" % n, b""), write(f"repo-{n}", 0, b""))
        for n in range(350)
    ]

    outcomes = log.append(commands)

    assert outcomes == [Appended(0, 3 * n + 3, f"repo-{n}", 1) for n in range(350)]
    assert data(log.stream("user-349")) == [b"349", b""]
    assert positions(log) == list(range(1, 1051))


def test_positions_have_no_holes_where_commands_were_refused(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b"")), command("2", write(ADA, 0, b""))])
    log.append([command("3", write(ADA, 7, b""))])
    log.append([command("1", write(BOB, 0, b"")), command("1", write(ADA, 0, b""))])
    log.append([command("4", write(BOB, 0, b"", b"")), command("5", write(ADA, None, b""))])

    assert positions(log) == [1, 2, 3, 4]
    assert log.heads() == [Head(0, 4, State.OPEN, None)]


# --- versions -----------------------------------------------------------------------


@pytest.mark.parametrize("expected", [0, 1, 3, 9], ids=["new", "behind", "ahead", "far ahead"])
def test_a_command_that_saw_another_version_is_a_conflict(log: Log, expected: int) -> None:
    log.append([command("1", write(ADA, 0, b"", b""))])

    [outcome] = log.append([command("2", write(ADA, expected, b"lost", b"lost"))])

    assert conflict(outcome) == (ADA, expected, 2)
    assert data(log.stream(ADA)) == [b"", b""]


def test_a_stream_that_is_not_there_has_version_0(log: Log) -> None:
    [outcome] = log.append([command("1", write(ADA, 1, b""))])

    assert conflict(outcome) == (ADA, 1, 0)
    assert everything(log) == []


def test_any_version_fits_a_command_that_saw_none(log: Log) -> None:
    outcomes = [
        *log.append([command("1", write(ADA, None, b"on nothing"))]),
        *log.append([command("2", write(ADA, None, b"on one")), command("3", write(ADA, 2, b""))]),
    ]

    assert outcomes == [Appended(0, n, ADA, n) for n in (1, 2, 3)]


@pytest.mark.parametrize("expected", [0, None], ids=["exact", "any"])
def test_a_command_goes_in_whole_or_not_at_all(log: Log, expected: int | None) -> None:
    log.append([command("1", write(BOB, 0, b"there"))])

    [outcome] = log.append(
        [command("2", write(ADA, expected, b"lost", b"lost"), write(BOB, 0, b"lost"))]
    )

    assert conflict(outcome) == (BOB, 0, 1)
    assert data(everything(log)) == [b"there"]


def test_a_command_may_write_to_one_stream_twice(log: Log) -> None:
    outcomes = log.append(
        [
            command("1", write(ADA, 0, b"1"), write(BOB, 0, b"2"), write(ADA, 1, b"3")),
            command("2", write(ADA, 2, b"lost"), write(ADA, 2, b"lost")),
        ]
    )

    assert outcomes[0] == Appended(0, 3, ADA, 2)
    assert conflict(outcomes[1]) == (ADA, 2, 3)
    assert data(everything(log)) == [b"1", b"2", b"3"]


@pytest.mark.parametrize("second", [0, None], ids=["exact", "any"])
def test_of_two_members_for_one_version_the_first_wins(log: Log, second: int | None) -> None:
    outcomes = log.append(
        [
            command("1", write(BOB, second, b"bystander")),
            command("2", write(ADA, 0, b"won")),
            command("3", write(ADA, 0, b"lost")),
            command("4", write("user-eve", 0, b"bystander")),
        ]
    )

    assert conflict(outcomes.pop(2)) == (ADA, 0, 1)
    assert outcomes == [
        Appended(0, position, stream, 1)
        for position, stream in enumerate((BOB, ADA, "user-eve"), start=1)
    ]
    assert data(everything(log)) == [b"bystander", b"won", b"bystander"]


def test_a_member_may_build_on_another_of_its_batch(log: Log) -> None:
    outcomes = log.append(
        [
            command("1", write(ADA, 0, b"1", b"2")),
            command("2", write(ADA, 2, b"3")),
            command("3", write(ADA, 3, b"4")),
        ]
    )

    assert outcomes == [Appended(0, n, ADA, n) for n in (2, 3, 4)]


def test_a_member_that_builds_on_a_refused_one_is_refused_too(log: Log) -> None:
    outcomes = log.append(
        [
            command("1", write(ADA, 5, b"lost")),
            command("2", write(ADA, 6, b"lost")),
            command("3", write(ADA, 0, b"1", b"2")),
            command("4", write(ADA, 1, b"lost")),
            command("5", write(ADA, 2, b"3")),
        ]
    )

    assert [conflict(outcomes[n]) for n in (0, 1, 3)] == [(ADA, 5, 0), (ADA, 6, 0), (ADA, 1, 2)]
    assert data(everything(log)) == [b"1", b"2", b"3"]


# --- command ids ----------------------------------------------------------------------


@pytest.mark.parametrize("expected", [0, 3, None], ids=["as before", "newest", "any"])
def test_a_command_given_again_has_its_first_outcome(log: Log, expected: int | None) -> None:
    [first] = log.append([command("1", write(ADA, 0, b"1"), write(BOB, 0, b"2", b"3"))])
    log.append([command("2", write(BOB, 2, b"4")), command("3", write(ADA, 1, b"5", b"6"))])

    [again] = log.append([command("1", write(ADA, expected, b"whatever"))])

    assert first == Appended(0, 3, BOB, 2)
    assert again == Appended(0, 3, BOB, 2, again=True)
    assert data(everything(log)) == [b"1", b"2", b"3", b"4", b"5", b"6"]


def test_a_command_that_is_twice_in_a_batch_goes_in_once(log: Log) -> None:
    same = command("1", write(ADA, 0, b"1", b"2"))

    outcomes = log.append([same, command("2", write(ADA, 2, b"3")), same])

    assert outcomes == [
        Appended(0, 2, ADA, 2),
        Appended(0, 3, ADA, 3),
        Appended(0, 2, ADA, 2, again=True),
    ]
    assert data(everything(log)) == [b"1", b"2", b"3"]


def test_known_and_new_commands_may_share_a_batch(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b"1"))])

    outcomes = log.append([command("2", write(BOB, 0, b"2")), command("1", write(ADA, 0, b"1"))])

    assert outcomes == [Appended(0, 2, BOB, 1), Appended(0, 1, ADA, 1, again=True)]


def test_a_command_id_of_another_stream_is_refused(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b"1"), write(BOB, 0, b"2"))])

    later = log.append([command("1", write(BOB, 1, b"lost"))])
    together = log.append(
        [command("2", write("user-eve", 0, b"3")), command("2", write(BOB, None, b"lost"))]
    )

    assert taken_id(later[0]) == ("1", ADA)
    assert taken_id(together[1]) == ("2", "user-eve")
    assert data(everything(log)) == [b"1", b"2", b"3"]


def test_the_id_of_a_refused_command_is_still_free(log: Log) -> None:
    log.append([command("1", write(ADA, 4, b"lost"))])

    outcomes = log.append([command("1", write(ADA, 7, b"lost")), command("1", write(BOB, 0, b""))])

    assert conflict(outcomes[0]) == (ADA, 7, 0)
    assert outcomes[1] == Appended(0, 1, BOB, 1)


# --- claims -----------------------------------------------------------------------------


def test_a_claim_that_is_taken_is_refused_to_others(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("ada", ADA)])])

    outcomes = log.append(
        [
            command("2", write(BOB, 0, b"lost"), takes=[name("bob", BOB), name("ada", BOB)]),
            command("3", write("user-eve", 0, b"other kind"), takes=[mail("ada", "user-eve")]),
        ]
    )

    assert claimed(outcomes[0]) == ("name", ADA)
    assert outcomes[1] == Appended(0, 2, "user-eve", 1)
    assert log.claims() == (log.heads(), [mail("ada", "user-eve"), name("ada", ADA)], [])
    assert data(everything(log)) == [b"", b"other kind"]


def test_a_claim_leads_to_its_holder(log: Log) -> None:
    log.append(
        [command("1", write(ADA, 0, b""), takes=[name("x", ADA), mail("é \U0001f600", ADA)])]
    )
    log.append([command("2", write(BOB, 0, b""), takes=[name("y", BOB)])])
    log.append([command("3", write(BOB, 1, b""), releases=[name("y", BOB)])])

    assert log.holder("name", "x") == log.holder("mail", "é \U0001f600") == ADA
    for kind, value in [("name", "y"), ("name", "X"), ("mail", "x"), ("name", "")]:
        assert log.holder(kind, value) is None


def test_a_holder_may_take_its_claim_again(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("ada", ADA)])])

    outcomes = log.append([command("2", write(ADA, 1, b""), takes=[name("ada", ADA)] * 2)])

    assert outcomes == [Appended(0, 2, ADA, 2)]
    assert claims(log) == [name("ada", ADA)]


def test_a_command_releases_before_it_takes(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("a", ADA), name("b", ADA)])])

    log.append(
        [
            command(
                "2",
                write(BOB, 0, b""),
                takes=[name("a", BOB), name("c", BOB)],
                releases=[name("a", ADA), name("b", ADA)],
            )
        ]
    )

    assert claims(log) == [name("a", BOB), name("c", BOB)]


def test_a_released_claim_is_free(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("ada", ADA)])])
    log.append([command("2", write(ADA, 1, b""), releases=[name("ada", ADA)])])

    outcomes = log.append([command("3", write(BOB, 0, b""), takes=[name("ada", BOB)])])

    assert outcomes == [Appended(0, 3, BOB, 1)]
    assert claims(log) == [name("ada", BOB)]


def test_only_the_holder_releases_a_claim(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("ada", ADA)])])

    outcomes = log.append(
        [
            command("2", write(BOB, 0, b""), releases=[name("ada", BOB), name("x", BOB)]),
            command("3", write(BOB, 1, b""), takes=[name("ada", BOB)], releases=[name("ada", BOB)]),
        ]
    )

    assert outcomes[0] == Appended(0, 2, BOB, 1)
    assert claimed(outcomes[1]) == ("name", ADA)
    assert claims(log) == [name("ada", ADA)]


def test_of_two_members_for_one_claim_the_first_wins(log: Log) -> None:
    outcomes = log.append(
        [
            command("1", write(ADA, 0, b"won"), takes=[name("x", ADA)]),
            command("2", write(BOB, 0, b"lost"), takes=[name("x", BOB)]),
            command("3", write(BOB, 0, b"other"), takes=[name("y", BOB)]),
        ]
    )

    assert claimed(outcomes[1]) == ("name", ADA)
    assert data(everything(log)) == [b"won", b"other"]
    assert claims(log) == [name("x", ADA), name("y", BOB)]


def test_a_claim_may_change_hands_within_a_batch(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("x", ADA)])])

    outcomes = log.append(
        [
            command("2", write(ADA, 1, b""), releases=[name("x", ADA)]),
            command("3", write(BOB, 0, b""), takes=[name("x", BOB)]),
            command("4", write(BOB, 1, b""), releases=[name("x", BOB)]),
            command("5", write("user-eve", 0, b""), takes=[name("x", "user-eve")]),
        ]
    )

    assert all(isinstance(outcome, Appended) for outcome in outcomes)
    assert claims(log) == [name("x", "user-eve")]


def test_a_refused_command_touches_no_claim(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("x", ADA)])])

    log.append(
        [command("2", write(ADA, 5, b""), takes=[name("y", ADA)], releases=[name("x", ADA)])]
    )
    log.append(
        [command("1", write(ADA, 1, b""), takes=[name("z", ADA)], releases=[name("x", ADA)])]
    )

    assert claims(log) == [name("x", ADA)]


def test_claims_are_told_in_the_order_of_their_code_points(log: Log) -> None:
    values = ["", "%", "B", "a", "a b", "ab", "ß", "\uffff", "🎉"]

    log.append([command("1", write(ADA, 0, b""), takes=[name(v, ADA) for v in values[::-1]])])

    assert [claim.value for claim in claims(log)] == values


def test_claims_are_replaced_while_a_store_is_being_filled(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("x", ADA), name("y", ADA)])])
    log.change_state(State.FILLING)

    log.replace_claims([name("y", BOB), mail("z", BOB)], [], Positions((1,)))

    assert claims(log) == [mail("z", BOB), name("y", BOB)]
    assert not log.replace_claims(  # those of another position
        [name("x", BOB)], [], Positions((2,))
    )
    assert claims(log) == [mail("z", BOB), name("y", BOB)]
    assert log.replace_claims([], [], Positions((1,)))
    assert claims(log) == []


@pytest.mark.parametrize("state", [State.OPEN, State.SEALED])
def test_claims_are_not_replaced_otherwise(log: Log, state: State) -> None:
    log.append([command("1", write(ADA, 0, b""), takes=[name("x", ADA)])])
    log.change_state(state, successor="elsewhere" if state is State.SEALED else None)

    with pytest.raises(Refused, match="only while a store is being filled"):
        log.replace_claims([], [], Positions((1,)))

    assert claims(log) == [name("x", ADA)]


# --- states -----------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [1, None], ids=["exact", "any"])
def test_a_filling_store_refuses_commands(log: Log, expected: int | None) -> None:
    log.append([command("1", write(ADA, 0, b"there"))])
    log.change_state(State.FILLING)

    [outcome] = log.append([command("2", write(ADA, expected, b"lost"))])

    assert isinstance(outcome, Filling)
    assert data(everything(log)) == [b"there"]


@pytest.mark.parametrize("expected", [1, None], ids=["exact", "any"])
def test_a_sealed_store_says_where_it_moved(log: Log, expected: int | None) -> None:
    log.append([command("1", write(ADA, 0, b"there"))])
    log.change_state(State.SEALED, successor="postgresql://new")

    [outcome] = log.append([command("2", write(ADA, expected, b"lost"), takes=[name("x", ADA)])])

    assert isinstance(outcome, Moved)
    assert outcome.successor == "postgresql://new"
    assert data(everything(log)) == [b"there"]
    assert claims(log) == []


@pytest.mark.parametrize("state", [State.FILLING, State.SEALED])
def test_a_closed_store_still_tells_the_first_outcome(log: Log, state: State) -> None:
    log.append([command("1", write(ADA, 0, b"1", b"2"))])
    log.change_state(state, successor="elsewhere")

    outcomes = log.append([command("1", write(ADA, 0, b"1")), command("1", write(BOB, 0, b"2"))])

    assert outcomes[0] == Appended(0, 2, ADA, 2, again=True)
    assert taken_id(outcomes[1]) == ("1", ADA)


def test_a_store_tells_its_state_and_takes_commands_again_once_open(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b"1"))])

    sealed = log.change_state(State.SEALED, successor="elsewhere")
    told = log.heads()
    opened = log.change_state(State.OPEN)
    outcomes = log.append([command("2", write(ADA, 1, b"2"))])

    assert sealed == told == [Head(0, 1, State.SEALED, "elsewhere")]
    assert opened == [Head(0, 1, State.OPEN, None)]
    assert outcomes == [Appended(0, 2, ADA, 2)]


def test_every_store_has_ids_of_its_own_until_it_takes_over_a_history(
    new_log: Callable[[], Log],
) -> None:
    source, target = new_log(), new_log()
    ours, before = source.identity(), target.identity()

    target.change_state(State.FILLING, log_id=ours.log_id)
    target.change_state(State.OPEN)

    assert len({ours.store_id, ours.log_id, before.store_id, before.log_id}) == 4
    assert target.identity().log_id == ours.log_id
    assert target.identity().store_id == before.store_id
    assert source.identity() == ours


def test_a_state_changes_only_where_the_log_ends_as_is_expected(log: Log) -> None:
    log.append([command("1", write(ADA, 0, b"1"))])

    with pytest.raises(EndsElsewhere, match="ends at position 1, not 2"):
        log.change_state(State.FILLING, at=Positions((2,)))
    assert log.heads()[0].state is State.OPEN
    log.change_state(State.FILLING, at=Positions((1,)))

    assert log.heads()[0].state is State.FILLING


def test_no_append_slips_in_behind_a_change_of_state(log: Log) -> None:
    for round in range(5):
        started = Barrier(5, timeout=10)

        def keep_appending(writer: int, started: Barrier = started, round: int = round) -> int:
            started.wait()
            for n in range(10_000):
                expected = 0 if writer % 2 else None  # both ways into the log
                [outcome] = log.append(
                    [
                        command(
                            f"{round} {writer} {n}", write(f"w-{round}.{writer}.{n}", expected, b"")
                        )
                    ]
                )
                if isinstance(outcome, Moved):
                    return n
            raise AssertionError("the store was never sealed")

        with ThreadPoolExecutor(4) as pool:
            appended = [pool.submit(keep_appending, writer) for writer in range(4)]
            before = log.heads()[0].position
            started.wait()
            while log.heads()[0].position < before + 10:
                pass
            [head] = log.change_state(State.SEALED, successor="elsewhere")
            told = before + sum(each.result() for each in appended)

        assert head.position == told == log.heads()[0].position == len(everything(log))
        log.change_state(State.OPEN)


# --- the clock --------------------------------------------------------------------------


def test_the_time_of_an_event_is_the_clocks(log: Log, clock: Callable[[int], None]) -> None:
    clock(NOW)
    log.append([command("1", write(ADA, 0, b"", b""))])
    clock(NOW + MINUTE)
    log.append([command("2", write(ADA, None, b""))])

    assert times(log) == [NOW, NOW, NOW + MINUTE]


def test_the_time_never_goes_back(log: Log, clock: Callable[[int], None]) -> None:
    clock(NOW)
    log.append([command("1", write(ADA, 0, b""))])
    clock(NOW - MINUTE)
    log.append([command("2", write(ADA, 1, b""))])
    log.append([command("3", write(BOB, None, b""))])
    clock(NOW + 1)
    log.append([command("4", write(ADA, 2, b""))])

    assert times(log) == [NOW, NOW, NOW, NOW + 1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Stops the clock of every log at a time in µs since 1970."""

    def stop_at(micros: int) -> None:
        for engine in ("memory", "sqlite", "postgres"):
            monkeypatch.setattr(
                f"refold.infrastructure.{engine}.log.time_ns", lambda: micros * 1_000 + 999
            )

    return stop_at


# --- reading ----------------------------------------------------------------------------


def test_pages_go_on_behind_a_position(log: Log) -> None:
    log.append([command("1", write(ADA, 0, *[b"%d" % n for n in range(1, 8)]))])

    assert [r.position for r in log.page(0, 0, 3)] == [1, 2, 3]
    assert [r.position for r in log.page(0, 3, 3)] == [4, 5, 6]
    assert [r.position for r in log.page(0, 6, 3)] == [7]
    assert log.page(0, 7, 3) == log.page(0, 99, 3) == log.page(0, 0, 0) == []


def test_a_page_ends_where_its_events_have_enough_bytes(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 100)
    sizes = [10, 40, 50, 1, 101, 100, 30, 80, *[2] * 60]
    log.append([command("1", write(ADA, 0, *[b"x" * (size - 2) for size in sizes]))])

    assert [len(log.page(0, after, 99)) for after in range(9)] == [3, 3, 2, 1, 1, 1, 1, 11, 50]
    assert [len(log.page(0, after, 2)) for after in range(9)] == [2, 2, 2, 1, 1, 1, 1, 2, 2]
    assert len(log.page(0, 4, 1)) == len(log.page(0, 4, 2**40)) == 1
    assert log.page(0, 68, 9) == []


def test_metadata_are_bytes_of_a_page(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 100)
    event = NewEvent("file.changed", 1, b"{}", b"x" * 30)
    log.append([Command("1", (Write(ADA, 0, (event,) * 7),))])

    assert [len(log.page(0, after, 9)) for after in (0, 3, 6)] == [3, 3, 1]
    assert chain.read(log, 0, 0, 7) == chain.read(log, 0, 0, 99) == log.stream(ADA)
    assert [r.position for r in chain.read(log, 0, 2, 4)] == [3, 4, 5, 6]


def test_what_is_not_there_is_empty(log: Log) -> None:
    log.append([command("1", write("user-bob/part", 0, b""))])

    assert log.stream("user-bob") == log.stream("user-b") == log.family("user-b") == []
    assert log.history("user-bob") == log.history("user-b") == History()
    assert log.seals(0) == []


def test_a_family_is_a_stream_and_its_parts_in_the_order_of_the_log(log: Log) -> None:
    family = ["user-bob/vote/b", "user-bob", "user-bob/vote/a", "user-bob/~zz", "user-bob/🎉"]
    strangers = [
        *("user-bob.smith", "user-bob-1", "user-bob0", "user-bob%2Fvote", "user-bo"),
        *("user-bobby/vote/a", "User-bob", "user-bob.", "user-bob~", "user-bob!/x"),
    ]
    mixed = [stream for pair in zip(family * 2, strangers, strict=True) for stream in pair]
    log.append([command(f"{n}", write(stream, None, b"")) for n, stream in enumerate(mixed)])

    assert [each.stream for each in log.family("user-bob")] == family * 2
    assert log.family("user-bob") == [each for each in everything(log) if each.stream in family]
    assert [each.stream for each in log.family("user-bob.smith")] == ["user-bob.smith"]


@pytest.mark.parametrize("key", ["50%25", "50%", "_", "~" + "0" * 64, "a\\b", "it's", '"', "日本"])
def test_no_character_of_a_key_is_special(log: Log, key: str) -> None:
    streams = [f"file-{key}", f"file-{key}/tag_vote/100%25 %/ada", f"file-{key}/x"]
    strangers = [f"file-x{key}", f"file-{key}x/y", "file-50", "file-x", "file-50x"]
    log.append([command(s, write(s, 0, s.encode())) for s in (*streams, *strangers)])

    assert data(log.family(f"file-{key}")) == [stream.encode() for stream in streams]
    assert [data(log.stream(stream)) for stream in streams] == [[s.encode()] for s in streams]
    assert [log.history(stream).datas for stream in streams] == [(s.encode(),) for s in streams]


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\0",
        b'{"a":"\0"}',
        b"\xff\xfe\x80",
        b"\\x00 \\N \\. %s %b ? :1 $1",
        "é🎉\u2028".encode(),
        bytes(range(256)) * 4096,
    ],
    ids=["empty", "NUL", "NUL inside", "no UTF-8", "escapes", "text", "1 MiB"],
)
def test_bytes_come_back_as_they_were_given(log: Log, value: bytes) -> None:
    one = NewEvent("x.y", 1, value, value[::-1])

    log.append([command("exact", Write(ADA, 0, (one, one)))])
    log.append([command("any", Write(ADA, None, (one,)))])

    assert {(each.data, each.metadata) for each in everything(log)} == {(value, value[::-1])}
    assert log.stream(ADA) == everything(log)
    assert log.history(ADA) == history(everything(log))


def test_texts_come_back_as_they_were_given(log: Log) -> None:
    odd = ["", " ", "é", "e\u0301", "ABC", "abc", "it's; --", "%s%b{}?", "\n\t\\", "🎉\uffff\u2028"]
    streams = [f"file-{text}" for text in odd]

    log.append(
        [
            Command(f"id{text}", (Write(stream, 0, (NewEvent(text, 0, b"", b""),)),))
            for text, stream in zip(odd, streams, strict=True)
        ]
    )

    assert [(r.type, r.stream, r.command_id) for r in everything(log)] == [
        (text, f"file-{text}", f"id{text}") for text in odd
    ]
    assert [len(log.stream(stream)) for stream in streams] == [1] * len(odd)
    assert [log.history(stream) for stream in streams] == [history([r]) for r in everything(log)]


# --- races ------------------------------------------------------------------------------


@pytest.mark.parametrize("takes_claims", [False, True], ids=["plain", "with claims"])
def test_of_many_appends_racing_for_one_stream_one_wins(log: Log, takes_claims: bool) -> None:
    streams = [f"parcel-{n:02}" for n in range(20)]  # one race alone misses too often

    def append(writer: int, stream: str) -> Outcome:
        takes = [name(f"{writer} {stream}", stream)] if takes_claims else []
        [outcome] = log.append(
            [command(f"{writer} {stream}", write(stream, 0, b"%d" % writer, b""), takes=takes)]
        )
        return outcome

    outcomes = race(append, streams)

    winners = [won.stream for won in outcomes if isinstance(won, Appended)]
    losers = [conflict(lost) for lost in outcomes if not isinstance(lost, Appended)]
    assert sorted(winners) == streams
    assert sorted(losers) == sorted((stream, 0, 2) for stream in streams * 7)
    assert positions(log) == list(range(1, 41))


def test_two_who_opened_the_same_store_race_like_threads_of_one(
    new_kept_url: Callable[[], str],
) -> None:
    url, streams = new_kept_url(), [f"parcel-{n:02}" for n in range(20)]
    with open_store(url, create=True) as one, open_store(url) as other:

        def append(writer: int, stream: str) -> Outcome:
            log = (one, other)[writer % 2].log
            [outcome] = log.append([command(f"{writer} {stream}", write(stream, 0, b"", b""))])
            return outcome

        outcomes = race(append, streams)

        assert sorted(won.stream for won in outcomes if isinstance(won, Appended)) == streams
        assert positions(one.log) == positions(other.log) == list(range(1, 41))


def test_of_many_commands_racing_for_one_claim_one_wins(log: Log) -> None:
    values = [f"{n:02}" for n in range(20)]

    def take(writer: int, value: str) -> Outcome:
        stream = f"user-{writer}.{value}"
        [outcome] = log.append(
            [command(stream, write(stream, None, b""), takes=[name(value, stream)])]
        )
        return outcome

    outcomes = race(take, values)

    holders = {won.stream for won in outcomes if isinstance(won, Appended)}
    losers = [claimed(lost) for lost in outcomes if not isinstance(lost, Appended)]
    assert [claim.value for claim in claims(log)] == values
    assert {claim.stream for claim in claims(log)} == holders == {r.stream for r in everything(log)}
    assert len(losers) == 7 * len(values)


def test_of_many_tries_of_one_command_one_goes_in(log: Log) -> None:
    ids = [f"{n:02}" for n in range(20)]

    def append(writer: int, id: str) -> Outcome:
        expected = 0 if writer % 2 else None
        [outcome] = log.append([command(id, write(f"user-{id}", expected, b"", b""))])
        return outcome

    outcomes = race(append, ids)

    told = [(it.position, it.stream, it.again) for it in outcomes if isinstance(it, Appended)]
    assert sorted(r.command_id for r in everything(log)) == sorted(ids * 2)
    assert len(told) == len(outcomes)
    assert len(set(told)) == 2 * len(ids)
    assert len([again for _, _, again in told if again]) == 7 * len(ids)


def test_batches_over_the_same_streams_do_not_stand_in_each_others_way(log: Log) -> None:
    streams = [f"repo-{n}" for n in range(6)]

    def append(writer: int, round: str) -> Outcome:
        some = streams if writer % 2 else streams[::-1]
        writes = [write(stream, None, b"", b"") for stream in some]
        [outcome] = log.append([command(f"{writer} {round}", *writes)])
        return outcome

    outcomes = race(append, [f"{n}" for n in range(5)])

    assert all(isinstance(outcome, Appended) for outcome in outcomes)
    assert positions(log) == list(range(1, 8 * 5 * 12 + 1))
    assert [len(log.stream(stream)) for stream in streams] == [80] * 6
    assert len({(r.command_id, r.position // 12) for r in shifted(everything(log))}) == 40


def test_a_follower_skips_nothing_while_others_append(log: Log) -> None:
    writers, each = 4, 60
    done = Event()

    def follow() -> list[int]:
        seen: list[int] = []
        while not (done.is_set() and seen and seen[-1] == log.heads()[0].position):
            seen += [r.position for r in log.page(0, seen[-1] if seen else 0, 50)]
        return seen

    def append(writer: int) -> None:
        for n in range(each):
            log.append(
                [command(f"{writer} {n}", write(f"w-{writer}.{n}", n % 3 and None, b"", b""))]
            )

    with ThreadPoolExecutor(writers + 1) as pool:
        follower = pool.submit(follow)
        for _ in pool.map(append, range(writers)):
            pass
        done.set()

    assert follower.result() == list(range(1, 2 * writers * each + 1))


def test_claims_and_heads_are_told_of_one_instant(log: Log) -> None:
    def take(writer: int) -> None:
        for n in range(60):
            stream = f"user-{writer}.{n}"
            log.append([command(stream, write(stream, 0, b""), takes=[name(stream, stream)])])

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(take, writer) for writer in range(3)]
        told = []
        while not all(writer.done() for writer in writers):
            told.append(log.claims())
        for writer in writers:
            writer.result()

    assert len(claims(log)) == 180
    assert all(len(held) == heads[0].position for heads, held, _ in told)


# --- seals ------------------------------------------------------------------------------


def test_seals_are_told_in_the_order_of_their_positions(log: Log) -> None:
    log.add_seals([Seal(0, 10_000, b"c" * 32), Seal(0, 2_000, b"b" * 32)])
    log.add_seals([])
    log.add_seals([Seal(0, 1_000, b"\0" * 32), Seal(1, 1_000, b"z" * 32)])

    assert log.seals(0) == [
        Seal(0, 1_000, b"\0" * 32),
        Seal(0, 2_000, b"b" * 32),
        Seal(0, 10_000, b"c" * 32),
    ]
    assert log.seals(1) == [Seal(1, 1_000, b"z" * 32)]


def test_a_seal_that_stands_is_left_as_it_is(log: Log) -> None:
    log.add_seals([Seal(0, 1_000, b"first")])

    log.add_seals([Seal(0, 1_000, b"later"), Seal(0, 2_000, b"new")])

    assert log.seals(0) == [Seal(0, 1_000, b"first"), Seal(0, 2_000, b"new")]


# --- receiving --------------------------------------------------------------------------


def test_records_are_received_as_they_are(log: Log) -> None:
    log.change_state(State.FILLING)
    records = [
        record(1, ADA, 1, recorded_at=-62_135_596_800_000_000, data=b"\0\xff"),
        record(2, ADA, 2, command_id="1", command_no=1, type="x.y", schema=2**31 - 1),
        record(3, "file-é%/🎉", 9, recorded_at=253_402_300_799_999_999, metadata=b"\0" * 100_000),
        record(4, BOB, 2**62, recorded_at=0, command_id=""),
        record(5, BOB, 2**62 + 1, recorded_at=2**63 - 1, type=""),
    ]

    log.receive(records[:2])
    log.receive(records[2:])
    log.receive([])

    assert everything(log) == records
    assert log.family("file-é%") == records[2:3]
    assert log.heads() == [Head(0, 5, State.FILLING, None)]


def test_commands_build_on_what_was_received(log: Log) -> None:
    far = NOW * 100
    log.change_state(State.FILLING)
    log.receive(
        [record(1, ADA, 1, command_id="1"), record(2, BOB, 1, command_id="1", command_no=1)]
    )
    log.receive([record(3, ADA, 2, command_id="2", recorded_at=far)])
    log.change_state(State.OPEN)

    outcomes = log.append(
        [
            command("1", write(ADA, 0, b"")),
            command("2", write(BOB, 1, b"")),
            command("3", write(ADA, 1, b"")),
            command("4", write(ADA, 2, b"")),
        ]
    )

    assert outcomes[0] == Appended(0, 2, BOB, 1, again=True)
    assert taken_id(outcomes[1]) == ("2", ADA)
    assert conflict(outcomes[2]) == (ADA, 1, 2)
    assert outcomes[3] == Appended(0, 4, ADA, 3)
    assert times(log)[-1] == far


@pytest.mark.parametrize("state", [State.OPEN, State.SEALED])
def test_records_are_received_only_while_a_store_is_being_filled(log: Log, state: State) -> None:
    log.append([command("1", write(ADA, 0, b""))])
    log.change_state(state, successor="elsewhere" if state is State.SEALED else None)
    before = everything(log)

    for records in ([record(2, ADA, 2)], before):
        with pytest.raises(Refused):
            log.receive(records)

    assert everything(log) == before


@pytest.mark.parametrize(
    "numbers",
    [[3], [1], [2, 2], [2, 4], [2, 3, 5], [2, 3, 2], [3, 2]],
    ids=lambda numbers: " ".join(map(str, numbers)),
)
def test_records_that_do_not_follow_the_head_are_refused_as_a_whole(
    log: Log, numbers: list[int]
) -> None:
    log.change_state(State.FILLING)
    log.receive([record(1, ADA, 1)])

    with pytest.raises(Refused):
        log.receive(
            [record(number, f"w-{n}", 1, command_id=f"w{n}") for n, number in enumerate(numbers)]
        )

    assert everything(log) == [record(1, ADA, 1)]
    assert log.heads() == [Head(0, 1, State.FILLING, None)]


# --- saying it briefly --------------------------------------------------------------------


def command(
    id: str, *writes: Write, takes: Iterable[Claim] = (), releases: Iterable[Claim] = ()
) -> Command:
    return Command(id, writes, tuple(takes), tuple(releases))


def write(stream: str, expected: int | None, *datas: bytes) -> Write:
    events = tuple(NewEvent("thing.happened", 1, data, b"{}") for data in datas)
    return Write(stream, expected, events)


def name(value: str, stream: str) -> Claim:
    return Claim("name", value, stream)


def mail(value: str, stream: str) -> Claim:
    return Claim("mail", value, stream)


def record(
    position: int,
    stream: str,
    version: int,
    *,
    type: str = "thing.happened",
    schema: int = 1,
    data: bytes = b"",
    metadata: bytes = b"",
    recorded_at: int = NOW,
    command_id: str | None = None,
    command_no: int = 0,
) -> Recorded:
    id = f"{position}" if command_id is None else command_id
    return Recorded(
        0, position, stream, version, type, schema, data, metadata, recorded_at, id, command_no
    )


def everything(log: Log) -> list[Recorded]:
    return log.page(0, 0, 1_000_000)


def history(records: Sequence[Recorded]) -> History:
    return History(
        tuple(record.type for record in records),
        tuple(record.schema for record in records),
        tuple(record.data for record in records),
        tuple(record.position for record in records),
        tuple(record.command_id for record in records),
        tuple(record.command_no for record in records),
    )


def data(records: Iterable[Recorded]) -> list[bytes]:
    return [record.data for record in records]


def positions(log: Log) -> list[int]:
    return [record.position for record in everything(log)]


def times(log: Log) -> list[int]:
    return [record.recorded_at for record in everything(log)]


def shifted(records: Iterable[Recorded]) -> list[Recorded]:
    """Return records counted from 0, so that a division groups them."""
    return [record._replace(position=record.position - 1) for record in records]


def claims(log: Log) -> list[Claim]:
    return log.claims()[1]


def conflict(outcome: Outcome) -> tuple[str, int, int]:
    assert isinstance(outcome, Conflict), outcome
    return outcome.stream, outcome.expected, outcome.actual


def claimed(outcome: Outcome) -> tuple[str, str]:
    assert isinstance(outcome, Claimed), outcome
    return outcome.kind, outcome.holder


def taken_id(outcome: Outcome) -> tuple[str, str]:
    assert isinstance(outcome, CommandIdTaken), outcome
    return outcome.command_id, outcome.stream


def race(run: Callable[[int, str], Outcome], prizes: Sequence[str]) -> list[Outcome]:
    """Let eight threads run for each prize at once, and return all outcomes."""
    line_up = Barrier(8, timeout=30)

    def runner(number: int) -> list[Outcome]:
        outcomes = []
        for prize in prizes:
            line_up.wait()
            outcomes.append(run(number, prize))
        return outcomes

    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # or a thread in memory comes through before another starts
    try:
        with ThreadPoolExecutor(line_up.parties) as pool:
            return [each for all in pool.map(runner, range(line_up.parties)) for each in all]
    finally:
        sys.setswitchinterval(usual)
