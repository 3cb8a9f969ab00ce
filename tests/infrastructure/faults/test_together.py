"""Eight processes make, fold and move the same stores at once: there is one of each in the end."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from refold.domain.ports import State
from refold.infrastructure.open import open_store
from refold.tests.infrastructure.faults import forks
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.invariant import check, fresh, whole_log
from refold.tests.infrastructure.faults.lengths import LONG
from refold.tests.infrastructure.faults.processes import refold

PROCESSES: Final = 8
EVENTS: Final = 300
ROUNDS: Final = 10 if LONG else 1

Record = Callable[[str, object], None]


@pytest.mark.parametrize("round", range(ROUNDS))
@pytest.mark.parametrize(
    ("origin", "partitions"), [("sqlite", 1), ("postgres", 1), ("postgres", 3)]
)
def test_of_eight_processes_at_once_each_succeeds_or_is_refused_and_all_is_equal(
    origin: str,
    partitions: int,
    round: int,
    tmp_path: Path,
    postgres_url: str,
    record_property: Record,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGPASSWORD", urlsplit(postgres_url).password or "")
    monkeypatch.setenv("REFOLD_PARTITIONS", f"{partitions}")
    urls = [f"sqlite:///{tmp_path / 'store.db'}", postgres_url]
    source, target = urls if origin == "sqlite" else reversed(urls)

    made = _at_once(tmp_path, [("init", "--store", source)] * PROCESSES)
    with open_store(source) as store:
        commands = list(many(EVENTS))
        store.log.append(commands)
        commands.sort(key=lambda each: store.partition(each.writes[0].stream))
    ran = _at_once(
        tmp_path,
        [
            *[("init", "--store", source), ("init", "--store", target)],
            *[("run", "--once", "--store", source)] * 2,
            *[("move", source, target)] * 4,
        ],
    )
    last = refold("move", source, target, "--json")

    assert made == [(0, "")] * PROCESSES
    for code, sentence in ran:
        assert (code in (1, 4) and sentence.count("\n") == 1) or (code, sentence) == (0, ""), ran
    assert [code for code, _ in ran[:4]] == [0, 0, 0, 0], ran
    assert (last.code, last.document["equal"]) == (0, True), last.stderr
    with open_store(source) as store, open_store(target) as other:
        states = [{head.state for head in each.log.heads()} for each in (store, other)]
        assert states == [{State.SEALED}, {State.OPEN}]
        assert store.log.partitions == other.log.partitions == partitions
        records = check(other)
        assert [each.command_id for each in records] == [each.id for each in commands]
        assert whole_log(store) == records
        assert fresh(store) == fresh(other)
    record_property("eight processes at once", 2)


def _at_once(folder: Path, commands: Sequence[tuple[str, ...]]) -> list[tuple[int, str]]:
    """Run `refold` so many times, all at once; return exit codes, and what went wrong."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(forks.forked(folder, forks.when_told, forks.refold, *arguments))
            for arguments in commands
        ]
        for each in processes:
            each.wait_until_stopped()
        for each in processes:
            each.go_on()
        ended = [each.ended() for each in processes]
        return [
            (code, each.stderr if code else "") for code, each in zip(ended, processes, strict=True)
        ]
