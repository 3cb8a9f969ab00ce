"""Two reviewers decide on the same pushes at once: both are accounted for, every time."""

from contextlib import ExitStack
from subprocess import PIPE
from typing import Final

from refold.domain import push
from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store
from refold.tests.infrastructure.faults.processes import begin_together, started, succeed

PUSHES: Final = 100
DECISIONS: Final = {"authorise": push.Authorised, "reject": push.Rejected}


def test_of_two_decisions_at_once_one_is_kept_and_the_other_is_told(url: str) -> None:
    with open_store(url) as store, ExitStack() as stack:
        for number in range(PUSHES):
            document = {"id": f"push-{number}", "type": "push", "blocked": True}
            run(store, "push.record", {"document": document}, command_id=f"{number}", actor="proxy")
        reviewers = [
            stack.enter_context(started("reviewing", url, decision, str(PUSHES), output=PIPE))
            for decision in DECISIONS
        ]

        begin_together(reviewers)
        printed = [reviewer.stdout.read() for reviewer in reviewers if reviewer.stdout]
        succeed(reviewers)

        said = dict(zip(DECISIONS, map(_said, printed), strict=True))
        for number in range(PUSHES):
            id = f"push-{number}"
            [winner] = [each for each in DECISIONS if said[each][id] == ["decided"]]
            [loser] = DECISIONS.keys() - {winner}
            kept = [type(event.value) for event in store.history(f"push-{id}")]
            assert kept == [push.Recorded, DECISIONS[winner]]
            assert said[loser][id] == ["refused", "2"]


def _said(printed: bytes) -> dict[str, list[str]]:
    """Return what a reviewer was told of each push, by its id."""
    lines = [line.split() for line in printed.decode().splitlines()]
    return {id: [what, *rest] for what, id, *rest in lines}
