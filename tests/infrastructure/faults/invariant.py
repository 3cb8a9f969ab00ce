"""What holds after every fault, whatever it was."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from refold.domain.ports import Recorded
from refold.infrastructure.chain import pages
from refold.infrastructure.folding.digests import Digest
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.sqlite.rows import tables_in_memory
from refold.infrastructure.store import Store
from refold.projections import catalog

NOTHING: Final[Mapping[str, int]] = {}


def check(store: Store, acknowledged: Mapping[str, int] = NOTHING) -> list[Recorded]:
    """Look at the whole of `store`, and return its log, one partition after the other.

    Positions are dense, each stream is in its own partition, and each command is there once and
    whole. What was `acknowledged`, the position of each command's last event in its partition by
    its id, stands there. The chain fits its seals, and the live query tables are what another fold
    of the log makes.
    """
    records = whole_log(store)
    ends, numbers, versions = dict[str, int](), Counter[str](), Counter[str]()
    for each in records:
        assert each.partition == store.partition(each.stream)
        assert each.command_no == numbers[each.command_id]
        numbers[each.command_id] += 1
        versions[each.stream] += 1
        assert each.version == versions[each.stream]
        ends[each.command_id] = each.position
    lost = acknowledged.items() - ends.items()
    assert not lost

    report = verify(store)  # it folds the live tables, too
    assert report.ok, report.document()
    assert dict(report.tables) == fresh(store)
    return records


def whole_log(store: Store) -> list[Recorded]:
    """Return all events, one partition after the other; in each is no hole, nor goes time back."""
    records = []
    for partition, end in enumerate(store.advance.head().each):
        own = [each for page in pages(store.log, partition, 0, end) for each in page]
        places = [(each.partition, each.position) for each in own]
        assert places == [(partition, position) for position in range(1, end + 1)]
        times = [each.recorded_at for each in own]
        assert times == sorted(times)
        records += own
    return records


def fresh(store: Store) -> dict[str, Digest]:
    """Return the digests of tables in memory that are folded from the first event."""
    beside = replace(store, tables=tables_in_memory())
    try:
        beside.folder.catch_up()
        return {each.NAME: beside.folder.digest(each)[1] for each in catalog.ALL}
    finally:
        beside.tables.close()


def acknowledged(printed: str) -> dict[str, int]:
    """Return the position of each command's last event, from lines `done ID POSITION`."""
    lines = (line.split() for line in printed.splitlines())
    return {words[1]: int(words[2]) for words in lines if words[:1] == ["done"]}
