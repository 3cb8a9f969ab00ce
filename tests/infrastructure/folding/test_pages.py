"""Pages of the log: each event once, and what was folded before it."""

from collections.abc import Iterator

import pytest

from refold.domain.errors import BrokenLog
from refold.domain.ports import Recorded
from refold.domain.positions import PARTITION
from refold.infrastructure import limits
from refold.infrastructure.folding import pages
from refold.infrastructure.folding.pages import PageReader
from refold.infrastructure.open import open_store
from refold.infrastructure.patience import Passing
from refold.infrastructure.store import Store
from refold.tests.contract.query_tables import register


@pytest.fixture
def store() -> Iterator[Store]:
    with open_store("memory://", create=True) as store:
        for number in range(7):
            register(store, str(number))
        yield store


@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_all_pages_are_the_log(store: Store, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(pages, "PAGE", size)
    with PageReader(store.log, PARTITION) as reader:
        found = list(reader.pages(7))
    assert [record for page in found for record in page] == store.log.page(PARTITION, 0, 7)
    assert max(map(len, found)) <= size


def test_a_page_begins_with_what_was_folded_last(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    with PageReader(store.log, PARTITION) as reader:
        found = [positions(reader, after, 6) for after in (0, 2, 4, 6)]
        assert positions(reader, 1, 2) == [1, 2]
    assert found == [[1, 2], [2, 3, 4], [4, 5, 6], []]


@pytest.mark.parametrize("after", [7, 8])
def test_a_log_that_ends_before_the_page_is_told(store: Store, after: int) -> None:
    with PageReader(store.log, PARTITION) as reader, pytest.raises(BrokenLog):
        reader.read(after, 9)


def test_a_page_that_could_not_be_read_ahead_is_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGE", 2)
    page, asked = store.log.page, list[int]()

    def breaks_once(partition: int, after: int, limit: int) -> list[Recorded]:
        asked.append(after)
        if len(asked) == 2:
            raise Passing("the server restarts")
        return page(partition, after, limit)

    monkeypatch.setattr(store.log, "page", breaks_once)
    with PageReader(store.log, PARTITION) as reader:
        first = positions(reader, 0, 4)
        with pytest.raises(Passing):
            reader.read(2, 4)
        again = positions(reader, 2, 4)
    assert (first, again) == ([1, 2], [2, 3, 4])
    assert asked == [0, 1, 1]


def test_an_event_that_is_a_page_of_its_own_comes_with_the_one_before(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "PAGE_BYTES", 1)
    with PageReader(store.log, PARTITION) as reader:
        found = [positions(reader, after, 3) for after in (0, 1, 2, 3)]
        everything = [[each.position for each in page] for page in reader.pages(3)]
    assert found == [[1], [1, 2], [2, 3], []]
    assert everything == [[1], [2], [3]]


def positions(reader: PageReader, after: int, until: int) -> list[int]:
    return [record.position for record in reader.read(after, until)]
