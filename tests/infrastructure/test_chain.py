"""The hash chain: its bytes are fixed for ever, and it finds damage."""

import sqlite3
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from refold.domain.errors import BrokenLog
from refold.domain.ports import Appended, Command, NewEvent, Recorded, Seal, Write
from refold.infrastructure import chain
from refold.infrastructure.chain import GRID, Walk, digest, genesis, link, pages, seal
from refold.infrastructure.memory.log import MemoryLog
from refold.infrastructure.open import open_store

GOLDEN = Path(__file__).parent / "golden" / "chain.txt"
RECORD = Recorded(
    0, 5, "file-ab/tag_vote/é", 2, "tag_vote.cast", 3, b'{"x":"\xc3\xa9"}', b"{}", -1, "id", 4
)

# --- what is hashed ---------------------------------------------------------------


def test_the_bytes_that_are_hashed_are_those_written_down() -> None:
    fixed = dict(line.rsplit(" ", 1) for line in written_down())

    assert genesis(0).hex() == fixed["genesis of partition 0"]
    assert genesis(1).hex() == fixed["genesis of partition 1"]
    assert digest(RECORD) == sha256(bytes.fromhex(fixed["record"])).digest()
    assert digest(RECORD).hex() == fixed["digest of record"]
    assert link(genesis(0), RECORD).hex() == fixed["record behind genesis of partition 0"]


def test_the_chain_of_the_stored_samples_is_the_one_written_down(golden: list[Recorded]) -> None:
    fixed = [line for line in written_down() if line.startswith("samples up to")]
    walk = Walk(0, ())
    found = []

    for sample in golden:
        walk.over([sample])
        found.append(f"samples up to {walk.position} {walk.chain.hex()}")

    assert found == fixed


def test_the_layout_is_the_one_described() -> None:
    def number(value: int) -> bytes:
        return (8).to_bytes(8, "big") + value.to_bytes(8, "big", signed=True)

    def counted(value: bytes) -> bytes:
        return len(value).to_bytes(8, "big") + value

    layout = b"".join(
        [
            *map(number, (0, 5, 2, 3, -1, 4)),
            *map(
                counted,
                ("file-ab/tag_vote/é".encode(), b"tag_vote.cast", RECORD.data, b"{}", b"id"),
            ),
        ]
    )

    assert link(genesis(7), RECORD) == sha256(genesis(7) + layout).digest()
    assert genesis(7) == sha256(b"refold log 1" + (7).to_bytes(8, "big")).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"partition": 1},
        {"position": 6},
        {"stream": "file-ab/tag_vote/e"},
        {"version": 3},
        {"type": "tag_vote.cas"},
        {"schema": 4},
        {"data": b'{"x":"e"}'},
        {"metadata": b"{} "},
        {"recorded_at": 0},
        {"command_id": "ie"},
        {"command_no": 5},
        {"type": "tag_vote.cast{", "data": RECORD.data[1:]},
    ],
    ids=lambda change: "+".join(change),
)
def test_every_field_counts(change: dict[str, Any]) -> None:
    assert digest(RECORD._replace(**change)) != digest(RECORD)


# --- seals ------------------------------------------------------------------------


def test_seals_stand_on_the_grid() -> None:
    records = log_of(2 * GRID + 3)
    walk = Walk(0, ())

    walk.over(records[:1500])
    walk.over(records[1500:])

    assert GRID == 1_000
    assert [each.position for each in walk.fresh] == [1_000, 2_000]
    assert walk.fresh[1].chain == chain_of(records[:2_000])
    assert (walk.position, walk.chain) == (2_003, chain_of(records))


def test_a_seal_that_stands_is_compared_and_not_made_again() -> None:
    records = log_of(2 * GRID)
    walk = Walk(0, [Seal(0, 1_000, chain_of(records[:1_000]))])

    walk.over(records)

    assert [each.position for each in walk.fresh] == [2_000]


@pytest.mark.parametrize(("damaged", "first"), [(1, 1), (1_000, 1), (1_001, 1_001), (1_999, 1_001)])
def test_a_damaged_record_is_found_by_its_block(damaged: int, first: int) -> None:
    records = log_of(2 * GRID)
    seals = sealed(records)
    records[damaged - 1] = records[damaged - 1]._replace(data=b'{"n":-1}')

    with pytest.raises(BrokenLog) as broken:
        Walk(0, seals).over(records)

    assert (broken.value.first, broken.value.last) == (first, first + GRID - 1)


def test_a_damaged_seal_is_found_by_its_block() -> None:
    records = log_of(2 * GRID)
    [first, second] = sealed(records)

    with pytest.raises(BrokenLog) as broken:
        Walk(0, [first, Seal(0, second.position, bytes(32))]).over(records)

    assert (broken.value.first, broken.value.last) == (1_001, 2_000)


def test_behind_the_last_seal_nobody_can_tell() -> None:
    records = log_of(GRID + 5)
    seals = sealed(records)
    records[-1] = records[-1]._replace(data=b'{"n":-1}')
    walk = Walk(0, seals)

    walk.over(records)

    assert (walk.position, walk.fresh) == (GRID + 5, [])


def test_the_sealer_seals_full_blocks_and_goes_on_behind_the_last() -> None:
    log = MemoryLog()
    append(log, GRID + 999)

    assert seal(log, 0, GRID + 999) == GRID
    assert [each.position for each in log.seals(0)] == [GRID]
    append(log, 1)
    assert seal(log, 0, 2 * GRID) == 2 * GRID
    assert log.seals(0) == sealed(log.page(0, 0, 2 * GRID))


def test_the_sealer_seals_nothing_below_the_grid_and_nothing_twice() -> None:
    log = MemoryLog()
    append(log, GRID)

    assert seal(log, 0, GRID - 1) == 0
    assert log.seals(0) == []
    assert seal(log, 0, GRID) == seal(log, 0, GRID) == GRID
    assert len(log.seals(0)) == 1


# --- holes ------------------------------------------------------------------------


def test_pages_come_without_a_hole_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "PAGE", 4)
    log = MemoryLog()
    append(log, 11)

    found = [[record.position for record in page] for page in pages(log, 0, 1, 10)]

    assert found == [[2, 3, 4, 5], [6, 7, 8, 9], [10]]


@pytest.mark.parametrize(
    ("gone", "first", "last"), [(1, 1, 1), (4, 4, 4), (5, 5, 5), (9, 9, 9), (10, 10, 10)]
)
def test_a_missing_event_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: int, first: int, last: int
) -> None:
    monkeypatch.setattr(chain, "PAGE", 4)
    with open_store(f"sqlite:///{tmp_path}/store.db", create=True) as store:
        append(store.log, 10)
        delete(tmp_path / "store.db", gone)

        with pytest.raises(BrokenLog, match="events are missing") as broken:
            list(pages(store.log, 0, 0, 10))

    assert (broken.value.first, broken.value.last) == (first, last)


def test_a_log_that_ends_too_early_is_broken() -> None:
    log = MemoryLog()
    append(log, 3)

    with pytest.raises(BrokenLog, match="between positions 4 and 9: events are missing"):
        list(pages(log, 0, 0, 9))


def written_down() -> list[str]:
    lines = GOLDEN.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def log_of(events: int) -> list[Recorded]:
    return [
        RECORD._replace(position=n, version=n, data=b'{"n":%d}' % n, recorded_at=n)
        for n in range(1, events + 1)
    ]


def chain_of(records: list[Recorded]) -> bytes:
    walk = Walk(0, ())
    walk.over(records)
    return walk.chain


def sealed(records: list[Recorded]) -> list[Seal]:
    walk = Walk(0, ())
    walk.over(records)
    return walk.fresh


def append(log: Any, events: int) -> None:
    event = NewEvent("sample", 1, b"{}", b"{}")
    at = log.heads()[0].position
    command = Command(f"after {at}", (Write("file-ab", None, (event,) * events),))
    assert isinstance(log.append([command])[0], Appended)


def delete(path: Path, position: int) -> None:
    connection = sqlite3.connect(path)
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in triggers.fetchall():
        connection.execute(f'DROP TRIGGER "{name}"')
    assert connection.execute("DELETE FROM events WHERE position = ?", [position]).rowcount == 1
    connection.commit()
    connection.close()
