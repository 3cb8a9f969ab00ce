"""Times are compared to the nanosecond, whatever zone and how many digits their text has."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import times
from refold.domain.times import ZERO_TIME, NotATime, instant, micros, text

FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # µs of the years 1 to 9999


@pytest.mark.parametrize(
    ("written", "nanoseconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.1Z", 100_000_000),
        ("1969-12-31T23:59:59.999999999Z", -1),
        ("1970-01-01T01:00:00+01:00", 0),
        ("1969-12-31T18:29:00-05:31", 0),
        ("2000-02-29T23:59:59.5+23:59", 951_782_459_500_000_000),
        (ZERO_TIME, -62_135_596_800_000_000_000),
        ("0001-01-01T00:00:00+23:59", -62_135_683_140_000_000_000),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999_999),
    ],
)
def test_a_time_names_an_instant(written: str, nanoseconds: int) -> None:
    assert instant(written) == nanoseconds


@pytest.mark.parametrize(
    "written",
    [
        "",
        "2025-08-05",
        "2025-08-05T20:44:29",
        "2025-08-05 20:44:29Z",
        "2025-08-05t20:44:29z",
        "2025-08-05T20:44:29.Z",
        "2025-08-05T20:44:29.1234567890Z",
        "2025-08-05T20:44:29,1Z",
        "2025-08-05T20:44:29+0100",
        "2025-08-05T20:44:29+24:00",
        "2025-08-05T20:44:29+01:60",
        "2025-02-29T00:00:00Z",
        "2025-08-05T24:00:00Z",
        "2025-08-05T20:44:60Z",
        "0000-01-01T00:00:00Z",
        "٢٠٢٥-08-05T20:44:29Z",
        "2025-08-05T20:44:29Z\n",
    ],
)
def test_what_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(NotATime, match=r"is not a time|offset beyond"):
        instant(written)


@pytest.mark.parametrize(
    ("microseconds", "written"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (1_500_000, "1970-01-01T00:00:01.5Z"),
        (10_000_000, "1970-01-01T00:00:10Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (FIRST, ZERO_TIME),
    ],
)
def test_times_are_written_as_go_writes_them(microseconds: int, written: str) -> None:
    assert text(microseconds) == written


@given(st.integers(FIRST, LAST))
def test_microseconds_come_back_as_they_went(microseconds: int) -> None:
    assert micros(text(microseconds)) == microseconds


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.integers(0, 999_999_999),
    st.integers(0, 9),
    st.integers(-(24 * 60 - 1), 24 * 60 - 1),
)
def test_zone_and_trailing_zeros_do_not_change_the_instant(
    clock: datetime, fraction: int, digits: int, offset: int
) -> None:
    kept = f"{fraction:09}"[:digits]
    second = clock.isoformat()[:19]
    sign = "-" if offset < 0 else "+"
    zone = f"{sign}{abs(offset) // 60:02}:{abs(offset) % 60:02}"
    dot = f".{kept}" if kept else ""

    assert (
        instant(f"{second}{dot}{zone}")
        == instant(f"{second}.{kept.ljust(9, '0')}Z") - offset * 60 * 10**9
    )


@given(st.integers(FIRST, LAST), st.integers(0, 999))
def test_nanoseconds_are_rounded_down_to_microseconds(microseconds: int, rest: int) -> None:
    second, _, fraction = text(microseconds).removesuffix("Z").partition(".")
    written = f"{second}.{fraction.ljust(6, '0')}{rest:03}Z"

    assert instant(written) == microseconds * 1_000 + rest
    assert micros(written) == microseconds


def test_the_zero_time_of_go_fits_64_bits_in_microseconds() -> None:
    assert -(2**63) < micros(ZERO_TIME) == FIRST
    assert times.micros("0001-01-01T00:00:00+23:59") > -(2**63)
