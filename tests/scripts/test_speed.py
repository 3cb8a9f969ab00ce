"""Speed: rows of `refold bench` reach a third of their goals, so that no accident goes unseen.

A machine that is busy slows both sides of a ratio; the best of several rounds counts, and a row
that misses has two more tries.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from refold.scripts.measure.catalog import ALL
from refold.scripts.measure.row import Row
from refold.scripts.measure.site import Site, with_pgbench

GUARDED = (
    *("append-100", "append-64-async", "load-100", "load-100-sqlite", "replay"),
    *("rebuild-1-process", "live-sql", "search-sqlite", "search-postgresql"),
)
TRIES = 3


@pytest.fixture(scope="module")
def site(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A place with logs of 20 000 events."""
    folder = tmp_path_factory.mktemp("bench")
    with ExitStack() as lasting:
        place = (postgres, with_pgbench(), folder, 20_000, True, lambda *_: None, lasting)
        yield Site(*place, peers=False)


@pytest.mark.parametrize(
    "row", [row for row in ALL if row.name in GUARDED], ids=lambda row: row.name
)
def test_a_third_of_the_goal_is_reached(row: Row, site: Site) -> None:
    shares: list[float] = []

    for _ in range(TRIES):
        measured = row.measure(site)
        assert not measured.differences
        shares += map(row.goal.share, measured.values)
        if max(shares) >= 1 / 3:
            return

    pytest.fail(f"{row.name} reached {max(shares):.2f} of its goal at best")
