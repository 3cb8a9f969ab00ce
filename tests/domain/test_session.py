"""What may happen to a session."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain.session import (
    Changed,
    Ended,
    Event,
    Expired,
    Session,
    Started,
    Touched,
    after,
    end,
    expire,
    set_body,
    touch,
)

STREAM = "session-ab"
STARTED = Started(STREAM, "cart: 1", expires_at=100, user="ada")
STEP = 10


# --- state ------------------------------------------------------------------------------


def test_a_session_lives_until_the_instant_of_its_expiry() -> None:
    session = after(STARTED)

    assert session.lives(99)
    assert not session.lives(100)
    assert not Session().lives(-1)


def test_a_change_replaces_all_that_was_set() -> None:
    changed = Changed(STREAM, "cart: 2", 200, None, read_only=True)

    assert after(STARTED, changed) == Session(1, STREAM, "cart: 2", 200, None, True)


def test_a_touch_moves_the_expiry_alone() -> None:
    assert after(STARTED, Touched(300)) == Session(1, STREAM, "cart: 1", 300, "ada")


@pytest.mark.parametrize("over", [Ended(STREAM), Expired(STREAM)])
def test_of_a_session_that_is_over_only_the_count_of_its_starts_is_left(over: Event) -> None:
    assert after(STARTED, over) == Session(starts=1)
    assert not after(STARTED, over).lives(0)


# --- setting ----------------------------------------------------------------------------


def test_a_session_is_sealed_under_its_stream() -> None:
    events = set_body(Session(), STREAM, "cart: 1", 100, now=0, user="ada")

    assert events == [STARTED]


def test_a_session_that_lives_is_changed_under_the_same_subject() -> None:
    events = set_body(after(STARTED), STREAM, "cart: 2", 200, 99, "ada", read_only=True)

    assert events == [Changed(STREAM, "cart: 2", 200, "ada", read_only=True)]


def test_a_session_that_was_nobodys_is_the_same_one_when_somebody_logs_in() -> None:
    nobodys = after(Started(STREAM, "cart: 1", 100))

    assert set_body(nobodys, STREAM, "2", 200, 99, "ada") == [Changed(STREAM, "2", 200, "ada")]
    assert set_body(nobodys, STREAM, "2", 200, 99) == [Changed(STREAM, "2", 200)]


@pytest.mark.parametrize("user", ["bo", None])
def test_a_session_that_was_another_users_is_over_before_it_is_set_again(user: str | None) -> None:
    events = set_body(after(STARTED), STREAM, "cart: 2", 200, now=99, user=user)

    assert events == [Ended(STREAM), Started(f"{STREAM}#2", "cart: 2", 200, user)]


@pytest.mark.parametrize("over", [Ended(STREAM), Expired(STREAM)])
def test_a_session_that_is_set_after_its_end_has_a_new_subject(over: Event) -> None:
    events = set_body(after(STARTED, over), STREAM, "cart: 2", 200, now=0)

    assert events == [Started(f"{STREAM}#2", "cart: 2", 200)]


def test_a_session_that_has_expired_is_over_before_it_is_set_again() -> None:
    events = set_body(after(STARTED), STREAM, "cart: 2", 200, now=100)

    assert events == [Expired(STREAM), Started(f"{STREAM}#2", "cart: 2", 200)]


def test_no_subject_of_a_stream_is_used_twice() -> None:
    session = Session()
    subjects = []

    for _ in range(4):
        [started] = set_body(session, STREAM, "", 100, now=0)
        assert isinstance(started, Started)
        subjects.append(started.subject)
        session = after(*(Started(each, "", 100) for each in subjects), Ended(subjects[-1]))

    assert subjects == [STREAM, f"{STREAM}#2", f"{STREAM}#3", f"{STREAM}#4"]


# --- touching ---------------------------------------------------------------------------


@pytest.mark.parametrize("expires_at", [90, 110])
def test_a_touch_by_a_step_is_news(expires_at: int) -> None:
    assert touch(after(STARTED), expires_at, now=0, step=STEP) == [Touched(expires_at)]


@pytest.mark.parametrize("expires_at", [91, 100, 109])
def test_a_touch_by_less_than_a_step_is_no_news(expires_at: int) -> None:
    assert touch(after(STARTED), expires_at, now=-100, step=STEP) == []


@pytest.mark.parametrize(("expires_at", "is_news"), [(110, True), (105, True), (103, False)])
def test_a_step_is_at_most_a_tenth_of_the_time_that_is_left(expires_at: int, is_news: bool) -> None:
    expected = [Touched(expires_at)] if is_news else []

    assert touch(after(STARTED), expires_at, now=55, step=1_000) == expected


def test_a_touch_to_a_time_that_has_passed_is_news() -> None:
    assert touch(after(STARTED), 98, now=99, step=STEP) == [Touched(98)]


def test_without_a_step_every_move_is_news_but_none_is_not() -> None:
    assert touch(after(STARTED), 101, now=0, step=0) == [Touched(101)]
    assert touch(after(STARTED), 100, now=0, step=0) == []


@given(
    lifetime=st.integers(1, 100),
    step=st.integers(0, 60),
    gaps=st.lists(st.sampled_from([0.05, 0.3, 0.9]), min_size=2, max_size=9),
)
def test_a_session_that_is_used_once_in_nine_tenths_of_its_lifetime_never_ends(
    lifetime: int, step: int, gaps: list[float]
) -> None:
    now = 0
    events: list[Event] = [Started(STREAM, "cart: 1", lifetime)]

    for gap in gaps:
        now += int(gap * lifetime)
        assert after(*events).lives(now)
        events += touch(after(*events), now + lifetime, now, step)


def test_a_long_session_in_steady_use_costs_an_event_a_step() -> None:
    hour, second = 3_600_000_000, 1_000_000
    started = Started(STREAM, "cart: 1", 12 * hour)
    touches: list[Event] = []

    for now in range(0, hour, second):
        session = after(started, *touches[-1:])
        touches += touch(session, now + 12 * hour, now, step=60 * second)

    assert len(touches) == 59


@pytest.mark.parametrize(
    "session",
    [Session(), after(STARTED), after(STARTED, Ended(STREAM))],
    ids=["no", "old", "ended"],
)
def test_a_touch_brings_nothing_back_to_life(session: Session) -> None:
    assert touch(session, 500, now=100, step=STEP) == []


# --- ending -----------------------------------------------------------------------------


def test_an_end_names_the_subject_that_is_forgotten() -> None:
    assert end(after(STARTED)) == [Ended(STREAM)]
    assert end(after(STARTED, Ended(STREAM), Started(f"{STREAM}#2", "", 9))) == [
        Ended(f"{STREAM}#2")
    ]


@pytest.mark.parametrize("session", [Session(), after(STARTED, Expired(STREAM))])
def test_what_is_over_cannot_end(session: Session) -> None:
    assert end(session) == []
    assert expire(session, now=500) == []


def test_only_a_session_that_nobody_used_in_time_expires() -> None:
    assert expire(after(STARTED), now=99) == []
    assert expire(after(STARTED), now=100) == [Expired(STREAM)]
    assert expire(after(STARTED, Touched(200)), now=100) == []


def test_a_body_is_not_shown_where_an_event_or_a_session_is() -> None:
    started = Started("session-1", "its body", 1_000)

    assert "its body" not in repr(started) + repr(after(started))
