"""The clock steps back by an hour: the log's time does not, and what has expired stays so."""

import json
from collections.abc import Callable
from subprocess import PIPE
from typing import Final

from refold.infrastructure.open import open_store
from refold.infrastructure.services.sessions import show_session
from refold.tests.infrastructure.faults.invariant import check
from refold.tests.infrastructure.faults.processes import started, succeed

HOUR: Final = 3_600_000_000


def test_a_clock_that_steps_back_changes_no_order_and_brings_no_session_back(
    url: str, record_property: Callable[[str, object], None]
) -> None:
    with started("stepping", url, output=PIPE) as service:
        assert service.stdout
        now, ahead, back, purged = map(json.loads, service.stdout.read().splitlines())
        succeed([service])

    assert back["clock"] < ahead["clock"] - HOUR * 9 // 10  # it did step back
    assert [step["alive"] for step in (now, ahead, back)] == [True, False, False]
    assert purged == {"ended": 1}
    with open_store(url) as store:
        records = check(store, {each["step"]: each["position"] for each in (now, ahead, back)})
        assert show_session(store, "sid") is None
    times = {each.command_id: each.recorded_at for each in records}
    assert times["ahead"] >= ahead["clock"]
    assert times["back"] >= times["ahead"] > back["clock"]
    record_property("clock stepped back by an hour", 1)
