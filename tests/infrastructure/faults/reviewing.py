"""A reviewer: decides on pushes one after the other, as somebody who saw them at version 1.

Arguments: address of the store, authorise or reject, number of pushes. It says `ready` and begins
when its stdin ends; then it prints `decided ID` or `refused ID VERSION` for each push.
"""

import sys

from refold.domain.errors import Conflict
from refold.infrastructure.commands import run
from refold.infrastructure.open import open_store


def main(url: str, decision: str, pushes: str) -> None:
    decisions: dict[str, dict[str, object]] = {
        "authorise": {"attestation": {"reviewer": {"username": "carol"}}},
        "reject": {"rejection": {"reason": "no tests"}},
    }
    with open_store(url) as store:
        print("ready", flush=True)
        sys.stdin.read()
        for number in range(int(pushes)):
            id = f"push-{number}"
            fields = {"id": id, **decisions[decision]}
            try:
                run(
                    store,
                    f"push.{decision}",
                    fields,
                    command_id=f"{decision}-{id}",
                    actor=decision,
                    expected=1,
                )
                print("decided", id, flush=True)
            except Conflict as conflict:
                print("refused", id, conflict.actual, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
