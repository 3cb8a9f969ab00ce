"""What long tasks say where there is no terminal."""

from collections.abc import Iterator

from refold.scripts import output


def told(ticks: Iterator[float], *steps: tuple[str, int, int | None]) -> list[str]:
    said: list[str] = []
    advance = output.lines(lambda: next(ticks), said.append)
    for step in steps:
        advance(*step)
    return said


def test_a_short_task_says_nothing() -> None:
    steps = [("fold", done, 1_000) for done in range(0, 1_000, 100)]

    assert told(iter(range(10)), *steps[:9]) == []


def test_a_long_task_says_now_and_then_how_far_it_is_and_what_is_left() -> None:
    every_four_seconds = iter(range(0, 100, 4))

    assert told(
        every_four_seconds, *(("fold", done, 9_000) for done in range(0, 9_000, 1_000))
    ) == [
        "fold: 2,000 of 9,000, 250/s, 28 s left",
        "fold: 5,000 of 9,000, 250/s, 16 s left",
        "fold: 8,000 of 9,000, 250/s, 4 s left",
    ]


def test_what_has_no_known_end_is_counted() -> None:
    assert told(iter((0, 1, 12)), ("import", 1_000, None), ("import", 34_000, None)) == [
        "import: 34,000, 3,000/s"
    ]


def test_an_end_of_nought_is_one_that_nobody_knows() -> None:
    assert told(iter((0, 1, 12)), ("bytes", 10, 0), ("bytes", 340, 0)) == ["bytes: 340, 30/s"]


def test_work_that_has_just_begun_has_no_rate() -> None:
    assert told(iter((0, 11)), ("read", 5, 10)) == ["read: 5 of 10"]
