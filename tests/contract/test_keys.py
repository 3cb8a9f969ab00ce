"""Keys of sealed fields in every log: in with their append alone, and erased ones for ever."""

import secrets
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from refold.domain.errors import Claimed, CommandIdTaken, Conflict, Filling, KeyErased, Moved
from refold.domain.ports import Appended, Claim, Command, Key, Log, NewEvent, State, Write

ADA, BOB = "user-ada", "user-bob"
KEY, OTHER, GONE = Key(ADA, b"\0key\xff"), Key(ADA, b"another"), Key(ADA, None, 1_700)


# --- with an append ---------------------------------------------------------------------


@pytest.mark.parametrize("expected", [0, None], ids=["exact", "any"])
def test_a_new_key_goes_in_with_its_append(log: Log, expected: int | None) -> None:
    [outcome] = log.append([command("1", KEY, Key("second", b""), expected=expected)])

    assert outcome == Appended(0, 1, ADA, 1)
    assert log.keys() == [Key("second", b""), KEY]
    assert type(log.keys([ADA])[0].wrapped) is bytes


def test_a_command_that_conflicts_leaves_no_key(log: Log) -> None:
    [outcome] = log.append([command("1", KEY, expected=3)])

    assert isinstance(outcome, Conflict)
    assert log.keys() == []


def test_a_command_that_is_refused_leaves_no_key_and_erases_none(log: Log) -> None:
    log.append([command("1", KEY, takes=(Claim("name", "ada", ADA),))])

    outcomes = log.append(
        [
            command("2", Key(BOB, b""), stream=BOB, takes=(Claim("name", "ada", BOB),)),
            command("1", Key(BOB, b""), GONE, stream=BOB),
            command("3", GONE, expected=9),
        ]
    )

    assert [type(each) for each in outcomes] == [Claimed, CommandIdTaken, Conflict]
    assert log.keys() == [KEY]


@pytest.mark.parametrize(
    ("state", "successor", "refusal"),
    [
        (State.SEALED, "elsewhere", Moved),
        (State.FILLING, None, Filling),
        (State.FILLING, "elsewhere", Moved),  # on the way back
    ],
    ids=str,
)
def test_a_closed_store_takes_no_key(
    log: Log, state: State, successor: str | None, refusal: type[Exception]
) -> None:
    log.append([command("1", KEY)])
    log.change_state(state, successor=successor)

    outcomes = log.append([command("2", Key(BOB, b"")), command("3", GONE)])

    assert [type(each) for each in outcomes] == [refusal, refusal]
    assert log.keys() == [KEY]


def test_a_member_without_its_key_does_not_disturb_the_others(log: Log) -> None:
    outcomes = log.append(
        [command("1", KEY), command("2", OTHER, stream=BOB), command("3", Key("c", b""))]
    )

    assert [type(each) for each in outcomes] == [Appended, Conflict, Appended]
    assert log.keys() == [Key("c", b""), KEY]
    assert log.stream(BOB) == []


def test_another_key_for_a_subject_is_a_conflict_and_the_same_is_none(log: Log) -> None:
    log.append([command("1", KEY)])

    other, same = log.append([command("2", OTHER), command("3", KEY)])

    assert isinstance(other, Conflict)
    assert (other.stream, other.actual) == (ADA, 1)
    assert isinstance(same, Appended)
    assert log.keys() == [KEY]


def test_of_many_who_make_a_key_for_one_subject_one_wins(log: Log) -> None:
    subjects = [f"user-{n:02}" for n in range(12)]
    line_up = Barrier(6, timeout=30)

    def race(writer: int) -> list[Key]:
        won = []
        for subject in subjects:
            key = Key(subject, b"%d" % writer)
            line_up.wait()
            [outcome] = log.append([command(f"{subject} {writer}", key, stream=f"repo-{writer}")])
            assert isinstance(outcome, Appended | Conflict)
            won += [key] if isinstance(outcome, Appended) else []
        return won

    with ThreadPoolExecutor(line_up.parties) as pool:
        winners = [key for won in pool.map(race, range(line_up.parties)) for key in won]

    assert sorted(winners, key=lambda key: key.subject) == log.keys()
    assert [key.subject for key in log.keys()] == subjects


def test_a_retry_gives_the_first_outcome_and_changes_no_key(log: Log) -> None:
    [first] = log.append([command("1", KEY)])

    [again] = log.append([command("1", OTHER, Key(BOB, b""))])
    log.append([command("2", GONE)])
    [after_the_end] = log.append([command("1", KEY)])

    assert isinstance(first, Appended)
    assert isinstance(again, Appended)
    assert again.again
    assert (again.position, again.version) == (first.position, first.version)
    assert after_the_end == again
    assert log.keys() == [GONE]


# --- erased -----------------------------------------------------------------------------


def test_a_key_that_is_erased_is_gone_and_its_time_is_kept(log: Log) -> None:
    log.append([command("1", KEY)])

    log.append([command("2", GONE)])

    assert log.keys() == [Key(ADA, None, 1_700)]


def test_a_subject_may_be_erased_before_it_has_a_key(log: Log) -> None:
    log.append([command("1", GONE)])

    assert log.keys() == [GONE]


def test_an_erased_subject_gets_no_new_key_and_nothing_goes_in(log: Log) -> None:
    log.append([command("1", GONE)])

    [refused] = log.append([command("2", KEY)])

    assert isinstance(refused, KeyErased)
    assert refused.subject == ADA
    assert len(log.stream(ADA)) == 1
    assert log.keys() == [GONE]


def test_a_later_member_of_the_batch_sees_what_was_erased(log: Log) -> None:
    outcomes = log.append([command("1", KEY), command("2", GONE), command("3", OTHER)])

    assert [type(each) for each in outcomes] == [Appended, Appended, KeyErased]
    assert log.keys() == [GONE]


def test_the_first_erasure_is_the_one_that_is_kept(log: Log) -> None:
    log.append([command("1", GONE)])

    log.append([command("2", Key(ADA, None, 9_999))])
    log.merge_keys([Key(ADA, None, 1)])

    assert log.keys() == [GONE]


def test_a_merge_keeps_what_is_there_adds_what_is_new_and_erases_what_comes_erased(
    log: Log,
) -> None:
    log.merge_keys([Key("a", b"a"), Key("b", b"b"), Key("c", None, 3)])

    log.merge_keys([Key("a", b"x"), Key("b", None, 2), Key("c", b"c"), Key("d", b"d")])

    assert log.keys() == [Key("a", b"a"), Key("b", None, 2), Key("c", None, 3), Key("d", b"d")]


def test_nothing_merged_changes_nothing(log: Log) -> None:
    log.merge_keys([])

    assert log.keys() == []


def test_a_store_that_is_filled_takes_merged_keys(log: Log) -> None:
    log.change_state(State.FILLING)

    log.merge_keys([KEY])

    assert log.keys() == [KEY]


SUBJECT = st.integers(0, 2)
WRAPPED = st.sampled_from([b"", b"one", b"two"])
KEYS = st.tuples(SUBJECT, WRAPPED | st.none())
STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "merge"]), st.lists(KEYS, min_size=1, max_size=4)),
    max_size=6,
)


@given(STEPS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_any_order_the_first_key_stays_until_it_is_erased_for_ever(
    log: Log, steps: list[tuple[str, list[tuple[int, bytes | None]]]]
) -> None:
    example = secrets.token_hex(8)  # one log for all examples: its subjects tell them apart
    model: dict[str, Key] = {}
    for number, (how, given_keys) in enumerate(steps):
        keys = [
            Key(f"{example}-{subject}", wrapped, None if wrapped is not None else number)
            for subject, wrapped in given_keys
        ]
        if how == "merge":
            log.merge_keys(keys)
        for key in keys:
            if how == "append":
                [outcome] = log.append([command(secrets.token_hex(8), key)])
                assert type(outcome) is fate(key, model.get(key.subject))
            known = model.setdefault(key.subject, key)
            if key.wrapped is None and known.wrapped is not None:
                model[key.subject] = key

            if how == "append":
                assert log.keys([key.subject]) == [model[key.subject]]

    assert log.keys([f"{example}-{n}" for n in range(3)]) == [model[s] for s in sorted(model)]


def fate(key: Key, known: Key | None) -> type:
    """What becomes of a command with `key` where `known` is there."""
    if known is None or key.wrapped in (None, known.wrapped):
        return Appended
    return KeyErased if known.wrapped is None else Conflict


# --- reading ----------------------------------------------------------------------------


def test_keys_are_read_by_subject_or_all_in_the_order_of_code_points(log: Log) -> None:
    subjects = ["", "B", "a", "a#10", "a#2", "é", "\ufffd", "\U0001f600", "~vault", "%_'"]
    log.merge_keys([Key(subject, subject.encode()) for subject in subjects])

    found = log.keys(["é", "B", "nobody", "B", "a#2"])

    assert [key.subject for key in log.keys()] == sorted(subjects)
    assert [key.subject for key in found] == ["B", "a#2", "é"]
    assert log.keys([]) == []


def test_a_key_is_not_shown_by_accident() -> None:
    assert "another" not in repr(OTHER)


def command(
    id: str,
    *keys: Key,
    stream: str = ADA,
    expected: int | None = None,
    takes: tuple[Claim, ...] = (),
) -> Command:
    event = NewEvent("user.renamed", 1, b"{}", b"{}")
    return Command(id, (Write(stream, expected, (event,)),), takes, keys=keys)
