"""Whatever happens to an archive, its first bad block is named, and nothing behind it is read."""

import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import reduce
from itertools import accumulate
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.domain.errors import BrokenLog
from refold.domain.ports import Recorded
from refold.domain.positions import Positions
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import format, writing
from refold.infrastructure.archive.filling import fill, survey
from refold.infrastructure.archive.reading import NoArchive, Reading, Unfinished, events, opened
from refold.infrastructure.archive.verifying import compare, verify
from refold.infrastructure.chain import genesis, link
from refold.infrastructure.store import Store
from refold.tests.contract.two_stores import register
from refold.tests.infrastructure.archive.conftest import everything
from refold.tests.infrastructure.faults.events import registration

Frames = Sequence[bytes]
HEADER, FIRST, SECOND, THIRD, END = range(5)


class Spoilt:
    """An archive of small events, and a place where it may be spoilt."""

    def __init__(self, folder: Path, events: int) -> None:
        self.place = Archive(folder / f"{events}.zst")
        self.events = [
            Recorded(0, position, "s-1", position, "t", 1, b'{"n":"old"}', b"{}", 1, "c", 0)
            for position in range(1, events + 1)
        ]
        header = format.Header(1, "log", 0, "memory:", "2025-01-02T03:04:05+00:00")
        self.frames = [format.header_frame(header)]
        for start in range(0, events, 1_000):
            page = self.events[start : start + 1_000]
            self.frames.append(format.block_frame(page, self.chain(start + len(page)), []))
        self.frames.append(format.end_frame(events, self.chain(events)))
        self.ends = list(accumulate(map(len, self.frames)))

    def chain(self, position: int) -> bytes:
        return reduce(link, self.events[:position], genesis(0))

    def write(self, *frames: bytes) -> None:
        self.place.path.write_bytes(b"".join(frames))

    def block(self) -> tuple[list[bytes], bytes]:
        """Return the lines of the first block, and the one that closes it."""
        *lines, closing = text(self.frames[FIRST]).splitlines()
        return lines, closing


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    return Spoilt(tmp_path_factory.mktemp("spoilt"), 2_500)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    return Spoilt(tmp_path_factory.mktemp("small"), 3)


@pytest.mark.parametrize(
    ("change", "bad"),
    [
        (lambda it: [*it[:FIRST], it[SECOND], it[FIRST], *it[THIRD:]], (1, 1_000)),
        (lambda it: [*it[:SECOND], it[THIRD], it[SECOND], it[END]], (1_001, 2_000)),
        (lambda it: [*it[:FIRST], *it[SECOND:]], (1, 1_000)),
        (lambda it: [*it[:SECOND], *it[THIRD:]], (1_001, 2_000)),
        (lambda it: [*it[:THIRD], it[END]], (2_001, 3_000)),
        (lambda it: it[:END], (2_501, 3_000)),
        (lambda it: it[:THIRD], (2_001, 3_000)),
        (lambda it: [*it[:THIRD], it[THIRD][:-9]], (2_001, 3_000)),
        (lambda it: [*it[:SECOND], it[SECOND][:100], *it[THIRD:]], (1_001, 2_000)),
        (lambda it: [*it[:SECOND], it[FIRST], *it[SECOND:]], (1_001, 2_000)),
        (lambda it: [*it, b"garbage"], (2_501, 3_000)),
        (lambda it: [*it, b"\0" * 5_000], (2_501, 3_000)),
        (lambda it: [*it, it[HEADER]], (2_501, 3_000)),
        (lambda it: [*it, it[FIRST]], (2_501, 3_000)),
        (lambda it: [*it[:SECOND], b"garbage", *it[SECOND:]], (1_001, 2_000)),
    ],
)
def test_the_first_bad_block_is_named(
    spoilt: Spoilt, change: Callable[[Frames], Frames], bad: tuple[int, int]
) -> None:
    spoilt.write(*change(spoilt.frames))

    report = verify(spoilt.place)

    assert report.bad
    assert (report.bad.first, report.bad.last) == bad
    assert report.position == bad[0] - 1
    assert report.chain == spoilt.chain(report.position)
    assert read(spoilt.place) == spoilt.events[: report.position]


@settings(max_examples=60)
@given(st.data())
def test_no_flipped_bit_changes_what_is_read(spoilt: Spoilt, data: st.DataObject) -> None:
    whole = bytearray(b"".join(spoilt.frames))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    spoilt.write(bytes(whole))

    try:
        report = verify(spoilt.place)
    except NoArchive:
        assert at < spoilt.ends[HEADER]
        return

    block = sum(end <= at for end in spoilt.ends)  # 0 is the header
    if report.bad:
        # a frame that says that it has no checksum is whole, and then what follows is not
        assert report.bad.first in {1_000 * max(block - 1, 0) + 1, min(1_000 * block, 2_500) + 1}
    else:  # zstd has bits that mean nothing
        assert (report.position, report.chain) == (2_500, spoilt.chain(2_500))


@settings(max_examples=40)
@given(st.data())
def test_no_cut_goes_unnoticed(spoilt: Spoilt, data: st.DataObject) -> None:
    cut = data.draw(st.integers(spoilt.ends[HEADER], spoilt.ends[END] - 1))
    spoilt.write(b"".join(spoilt.frames)[:cut])

    bad = verify(spoilt.place).bad

    assert isinstance(bad, Unfinished)
    whole_blocks = sum(end <= cut for end in spoilt.ends) - 1
    assert bad.first == min(1_000 * whole_blocks, 2_500) + 1


# --- frames that somebody made anew, whose checksums fit ----------------------------


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda line, end: (line.replace(b"old", b"new"), end), "SHA-256"),
        (lambda line, end: (line, end.replace(b'"chain":"', b'"chain":"00')), "chain"),
        (lambda line, end: (line, end.replace(b'"chain":"', b'"chain":"x')), "chain is none"),
        (lambda line, end: (line, end.replace(b'"first":1,', b'"first":2,')), "positions 2 to"),
        (lambda line, end: (line, end.replace(b'"last":3,', b'"last":4,')), "lines are not"),
        (lambda line, end: (line, end.replace(b'"last":3,', b'"last":2,')), "lines are not"),
        (lambda line, end: (line, end.replace(b'"t":3', b'"t":2')), "count"),
        (lambda line, end: (line, end.replace(b"{", b"[", 1)), "none of an archive"),
        (lambda line, end: (line + b"\n" + line, end), "lines are not"),
    ],
)
def test_a_block_that_was_written_over_is_named(
    small: Spoilt, change: Callable[[bytes, bytes], tuple[bytes, bytes]], what: str
) -> None:
    lines, closing = small.block()
    line, changed = change(lines[0], closing)
    assert (line, changed) != (lines[0], closing)

    small.write(small.frames[HEADER], frame([line, *lines[1:], changed]), small.frames[-1])

    bad = verify(small.place).bad
    assert bad
    assert bad.first == 1
    assert what in str(bad)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        (b'"old"', b'"new"', "its chain does not fit its events"),
        (b'"position":2', b'"position":3', "position 2 is missing"),
        (b'"version":2', b'"version":"2"', "a line is no event"),
    ],
)
def test_an_event_that_was_changed_with_its_hash_is_noticed(
    small: Spoilt, old: bytes, new: bytes, what: str
) -> None:
    lines, closing = small.block()
    changed = [lines[0], lines[1].replace(old, new), lines[2]]
    assert changed != lines
    closing = closing.replace(format.digest(lines).encode(), format.digest(changed).encode())

    small.write(small.frames[HEADER], frame([*changed, closing]), small.frames[-1])

    assert what in str(verify(small.place).bad)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"recorded_at": 0}, "time goes back at position 1001"),
        ({"version": 0}, "position 1001 has version 0"),
        ({"version": -1}, "position 1001 has version -1"),
        ({"version": 2**70}, "a line is no event"),
    ],
)
def test_what_no_log_can_hold_is_noticed(spoilt: Spoilt, change: dict[str, int], what: str) -> None:
    line = {"position": 1001, "stream": "s-2", "version": 1, "type": "t", "schema": 1}
    line |= {"recorded_at": 1, "command_id": "d", "command_no": 0, "data": {}, "metadata": {}}
    event = json.dumps(line | change).encode()
    end = {"first": 1001, "last": 1001, "sha256": format.digest([event]), "blobs": []}
    closing = json.dumps({"block": end | {"chain": "00" * 32, "types": {"t": 1}}}).encode()
    spoilt.write(*spoilt.frames[:SECOND], frame([event, closing]), spoilt.frames[END])

    report = verify(spoilt.place)

    assert what in str(report.bad)
    assert report.position == 1_000


def test_keys_that_were_changed_are_noticed(source: Store, place: Archive) -> None:
    writing.write(source, place, with_keys=True)
    *before, keys, end = frames_of(place)
    changed = [*text(keys).splitlines()[1:]]

    place.path.write_bytes(b"".join([*before, frame(changed), end]))

    assert "the keys" in str(verify(place).bad)


# --- what is done about it ------------------------------------------------------------


def test_a_damaged_archive_fills_no_store(archive: Archive, new_store: Callable[[], Store]) -> None:
    frames = frames_of(archive)
    archive.path.write_bytes(b"".join([*frames[:SECOND], *frames[THIRD:]]))

    with pytest.raises(BrokenLog):
        survey(archive)


def test_what_stands_before_the_damage_can_be_brought(
    long: Store, archive: Archive, new_store: Callable[[], Store]
) -> None:
    frames = frames_of(archive)
    archive.path.write_bytes(b"".join([*frames[:SECOND], *frames[THIRD:]]))
    target = new_store()

    certificate = fill(survey(archive, damaged=True), target)

    assert (certificate.equal, certificate.positions) == (True, Positions((1_000,)))
    assert everything(target) == everything(long)[:1_000]
    assert target.log.seals(0) == long.log.seals(0)[:1]


# --- against a store ------------------------------------------------------------------


def test_an_archive_is_compared_with_a_store_that_went_on(long: Store, archive: Archive) -> None:
    register(long, "new")

    assert compare(archive, long).ok


def test_the_first_block_that_differs_is_named(
    archive: Archive, new_store: Callable[[], Store]
) -> None:
    frames = frames_of(archive)
    archive.path.write_bytes(b"".join(frames[:THIRD]))
    twin = new_store()
    fill(survey(archive, damaged=True), twin)
    archive.path.write_bytes(b"".join(frames))
    twin.log.append([registration(f"other-{number}", f"other-{number}") for number in range(600)])

    differences = compare(archive, twin).differences

    assert differences == ["the events between 2001 and 2500 differ"]


def test_a_store_that_ends_before_the_archive_differs(
    long: Store, archive: Archive, new_store: Callable[[], Store]
) -> None:
    twin = new_store()
    fill(survey(archive), twin)
    register(long, "new")
    writing.write(long, archive)

    [difference] = compare(archive, twin).differences

    assert "ends at position 2500, the archive at 2501" in difference


def test_a_damaged_store_differs(archive: Archive, new_store: Callable[[], Store]) -> None:
    twin = new_store()
    fill(survey(archive), twin)
    with sqlite3.connect(twin.address.path) as damaging:  # type: ignore[union-attr]
        damaging.execute("DROP TRIGGER events_are_not_updated")
        damaging.execute("UPDATE events SET metadata = x'7b7d' WHERE position = 1500")

    [difference] = compare(archive, twin).differences

    assert "damaged between positions 1001 and 2000" in difference


def test_a_store_of_another_log_differs(archive: Archive, new_store: Callable[[], Store]) -> None:
    [difference] = compare(archive, new_store()).differences

    assert difference.startswith("the archive is of log ")


# --- frames -------------------------------------------------------------------------


def frames_of(place: Archive) -> list[bytes]:
    whole = place.path.read_bytes()
    with opened(place) as file:
        frames = format.Frames(file)
        ends = [frame.end for frame in iter(frames.next, None)]
    return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def text(frame: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(frame)


def frame(lines: Sequence[bytes]) -> bytes:
    return zstandard.ZstdCompressor().compress(b"".join(line + b"\n" for line in lines))


def read(place: Archive) -> list[Recorded]:
    found: list[Recorded] = []
    with opened(place) as file:
        try:
            for page in events(Reading(place, file)):
                found += page
        except BrokenLog:
            pass
    return found
