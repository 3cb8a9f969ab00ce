"""Counts the faults of test runs. Arguments: what pytest wrote with `--junitxml`, a file a run.

Tests record how often their fault struck; those named here strike a fixed number of times, and
fail otherwise. What a test counted that failed is left out. What is printed is the table of
RELIABILITY.md.
"""

import sys
from collections import Counter
from typing import Final
from xml.etree import ElementTree

from refold.tests.infrastructure.archive import test_killed as archive
from refold.tests.infrastructure.erasing import test_killed as erasing
from refold.tests.infrastructure.faults import (
    test_killed,
    test_lost_acknowledgement,
    test_restart,
    test_reviewers,
)
from refold.tests.infrastructure.faults.proxy import Cut

FIXED: Final = {
    "test_a_copy_killed_anywhere_goes_on_and_ends_equal": (
        "kill -9 of a copy",
        2 * test_killed.KILLS,
    ),
    "test_a_rebuild_killed_anywhere_goes_on_and_ends_equal": (
        "kill -9 of a rebuild",
        2 * test_killed.KILLS,
    ),
    "test_a_daemon_killed_anywhere_goes_on_and_applies_nothing_twice": (
        "kill -9 of a daemon",
        2 * test_killed.KILLS,
    ),
    "test_a_writer_killed_anywhere_leaves_whole_commands_and_all_that_were_acknowledged": (
        "kill -9 of a writer with eight threads",
        test_killed.KILLS,
    ),
    "test_writers_go_on_after_a_crash_and_nothing_acknowledged_is_lost": (
        "crash of PostgreSQL under four writers",
        test_restart.CRASHES,
    ),
    "test_a_command_whose_acknowledgement_was_lost_is_in_the_log_once": (
        "connection cut around a commit",
        len(Cut) * test_lost_acknowledgement.ROUNDS,
    ),
    "test_no_command_is_lost_or_done_twice_by_a_move_and_the_way_back": (
        "move under four writers, there and back",
        2,
    ),
    "test_no_command_is_lost_or_done_twice_where_a_log_is_numbered_anew": (
        "move into partitions under four writers",
        1,
    ),
    "test_of_two_decisions_at_once_one_is_kept_and_the_other_is_told": (
        "two decisions on a push at once",
        test_reviewers.PUSHES,
    ),
    "test_a_page_that_a_deadlock_rolled_back_is_folded_again": ("deadlock", 1),
    "test_an_erasure_that_is_killed_is_completed_by_another": (
        "kill -9 at a named step",
        len(erasing.STEPS),
    ),
    **dict.fromkeys(
        (
            "test_an_archive_that_is_killed_anywhere_goes_on_and_ends_whole",
            "test_an_archive_with_keys_has_them_whenever_its_successor_is_killed",
            "test_a_store_whose_filling_is_killed_anywhere_goes_on_and_ends_equal",
        ),
        ("kill -9 of a copy to or from an archive", archive.INSIDE),
    ),
}
"""By test: what strikes, and how often."""


def main(*paths: str) -> None:
    counts = Counter[str]()
    for path in paths:
        for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314 - pytest wrote it
            if any(case.find(outcome) is not None for outcome in ("failure", "error", "skipped")):
                continue
            fault, times = FIXED.get(case.get("name", "").partition("[")[0], ("", 0))
            if times:
                counts[fault] += times
            for recorded in case.iter("property"):
                counts[recorded.get("name", "")] += int(recorded.get("value", "0"))
    print("| fault | times |\n| --- | --- |")
    for fault, times in sorted(counts.items()):
        print(f"| {fault} | {times} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
