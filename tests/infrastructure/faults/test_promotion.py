"""A replica without the last events becomes the primary: nobody catches up with another history."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from refold.domain.errors import LogWentBack
from refold.domain.ports import Appended
from refold.domain.positions import PARTITION
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.cluster import throwaway
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.forks import wait
from refold.tests.infrastructure.faults.invariant import check, fresh
from refold.tests.infrastructure.faults.processes import refold
from refold.tests.infrastructure.faults.replicas import cut_off, promote, replica_of

REPLICATED: Final = 30
LOST: Final = 9

Record = Callable[[str, object], None]


def test_a_log_that_went_back_is_refused_and_goes_on_from_where_it_is(
    tmp_path: Path, record_property: Record
) -> None:
    copy = f"sqlite:///{tmp_path / 'copy.db'}"
    with throwaway() as primary, replica_of(primary) as replica:
        with open_store(primary.url, create=True) as store:
            acknowledged = _append(store, 0, REPLICATED)
            wait(lambda: _head(replica.url) == REPLICATED)
            cut_off(replica)
            lost = _append(store, REPLICATED, REPLICATED + LOST)
            store.folder.catch_up()
            assert refold("copy", primary.url, copy).code == 0
        primary.stop("immediate")
        promote(replica)

        with open_store(replica.url) as store:
            assert [each.command_id for each in check(store, acknowledged)] == list(acknowledged)
            refusals = [refold("copy", replica.url, copy)]  # the copy has more events
            other = _append(store, REPLICATED + LOST, REPLICATED + 2 * LOST)
            refusals.append(refold("copy", replica.url, copy))  # as many, and others
            again = _append(store, REPLICATED, REPLICATED + LOST)
            check(store, acknowledged | other | again)

            _tables_of_another_log_are_refused(store, primary.url, primary.start)

    assert [each.code for each in refusals] == [1, 3], refusals
    assert f"goes on to position {REPLICATED + LOST}" in refusals[0].stderr
    assert f"differ from position {REPLICATED + 1} on" in refusals[1].stdout
    assert lost.keys() == again.keys()
    with open_store(copy) as store:
        check(store, acknowledged | lost)  # as it was
    record_property("replica promoted without the last events", 1)


def _tables_of_another_log_are_refused(
    store: Store, former: str, start: Callable[[], None]
) -> None:
    """See what becomes of tables that were folded from events that `store` does not have."""
    start()
    with open_store(former) as there:
        beside = replace(store, tables=there.tables)
        with pytest.raises(LogWentBack, match="refold rebuild") as refusal:
            beside.folder.catch_up()
        assert refusal.value.position == str(REPLICATED + LOST)

        beside.rebuilder.rebuild(catalog.ALL)
        beside.folder.catch_up()

        digests = {each.NAME: beside.folder.digest(each)[1] for each in catalog.ALL}
        assert digests == fresh(store)


def _append(store: Store, start: int, end: int) -> dict[str, int]:
    """Append those of the commands, and return where each went."""
    commands = list(islice(many(end), start, None))
    outcomes = store.log.append(commands)
    assert all(isinstance(each, Appended) for each in outcomes)
    return {
        each.id: outcome.position  # type: ignore[union-attr]
        for each, outcome in zip(commands, outcomes, strict=True)
    }


def _head(url: str) -> int:
    with open_store(url) as store:
        return store.log.heads()[PARTITION].position
