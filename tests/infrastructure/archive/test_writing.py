"""What an archive has in it, how it grows, and what is refused before it is touched."""

import os
import stat
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from refold.domain.errors import BrokenLog, Filling, ForeignTarget, Refused, Unavailable
from refold.domain.ports import Key, Recorded, Seal, State
from refold.domain.positions import Positions
from refold.infrastructure import chain
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import format, reading, writing
from refold.infrastructure.archive.filling import fill, survey
from refold.infrastructure.archive.reading import NoArchive, Reading, opened
from refold.infrastructure.archive.verifying import verify
from refold.infrastructure.chain import GRID, seal
from refold.infrastructure.moving.certificate import End
from refold.infrastructure.store import Store
from refold.infrastructure.vault import digest
from refold.tests.contract.two_stores import register
from refold.tests.infrastructure.archive.conftest import do, everything
from refold.tests.infrastructure.faults.events import many


def test_an_archive_has_every_event_and_the_chain_of_the_store(
    source: Store, place: Archive
) -> None:
    written = writing.write(source, place)

    report = verify(place)
    assert events_of(place) == everything(source)
    assert report.ok
    assert (report.position, report.chain) == (len(everything(source)), chain_of(source))
    assert written.certificate.ends == [End(0, report.position, report.chain)]
    assert written.certificate.types == dict(report.types)
    assert written.appended == report.position
    assert written.needed == sorted(report.blobs) == [blob.sha256 for blob in source.blobs.list()]


def test_blocks_lie_on_the_grid_and_have_the_chain_of_the_seals(
    long: Store, archive: Archive
) -> None:
    seals = {each.position: each.chain.hex() for each in long.log.seals(0)}

    ends = [(end.first, end.last, end.chain) for end in blocks_of(archive)]

    assert sorted(seals) == [1_000, 2_000]
    assert ends == [
        (1, 1_000, seals[1_000]),
        (1_001, 2_000, seals[2_000]),
        (2_001, 2_500, chain_of(long).hex()),
    ]


def test_pages_that_do_not_lie_on_the_grid_make_blocks_that_do(
    long: Store, place: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain, "PAGE", 1_300)

    writing.write(long, place)

    assert [end.last for end in blocks_of(place)] == [1_000, 1_300, 2_000, 2_300, 2_500]
    assert verify(place).ok


def test_a_second_run_appends_what_is_new_and_touches_nothing_else(
    long: Store, archive: Archive
) -> None:
    before = archive.path.read_bytes()
    register(long, "new")

    written = writing.write(long, archive)

    assert written.appended == 1
    assert archive.path.read_bytes().startswith(before)
    assert [end.last for end in blocks_of(archive)] == [1_000, 2_000, 2_500, 2_501]
    assert events_of(archive) == everything(long)
    assert written.certificate.types == dict(verify(archive).types)


def test_a_second_run_without_news_writes_nothing(long: Store, archive: Archive) -> None:
    before = archive.path.read_bytes()

    written = writing.write(long, archive)

    assert written.appended == 0
    assert written.certificate.ends == [End(0, 2_500, chain_of(long))]
    assert archive.path.read_bytes() == before


def test_an_archive_grows_from_a_copy_of_its_store(
    long: Store, archive: Archive, new_store: Callable[[], Store]
) -> None:
    copy = new_store()
    fill(survey(archive), copy)
    register(copy, "new")

    assert writing.write(copy, archive).appended == 1


def test_an_empty_store_has_an_archive(new_store: Callable[[], Store], place: Archive) -> None:
    store = new_store()

    writing.write(store, place)

    report = verify(place)
    assert (report.ok, report.position, report.chain) == (True, 0, chain.genesis(0))


def test_what_is_written_meanwhile_is_left_to_the_next_run(
    long: Store, place: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_meanwhile(what: str, done: int, total: int | None) -> None:
        if total and done < total:
            register(long, f"at {done}")

    monkeypatch.setattr(chain, "PAGE", GRID)
    written = writing.write(long, place, progress=write_meanwhile)

    assert written.certificate.positions == Positions((2_500,))
    assert writing.write(long, place).appended == 2
    assert events_of(place) == everything(long)


def test_an_unfinished_block_is_cut_off_and_written_again(
    long: Store, archive: Archive, tmp_path: Path
) -> None:
    whole = archive.path.read_bytes()
    ends = frame_ends(archive)  # of the header, three blocks and the end
    assert len(ends) == 5

    for cut in (ends[0], ends[0] + 1, ends[1] + 7, ends[2], ends[3] - 1, ends[3], ends[4] - 1):
        os.truncate(archive.path, cut)
        assert verify(archive).bad
        writing.write(long, archive)

        assert archive.path.read_bytes() == whole


def test_of_keys_that_were_not_finished_nothing_is_left(source: Store, place: Archive) -> None:
    writing.write(source, place, with_keys=True)
    os.truncate(place.path, frame_ends(place)[2] - 1)  # within the keys

    writing.write(source, place)

    assert verify(place).ok
    assert verify(place).keys is None
    assert events_of(place) == everything(source)


# --- keys ---------------------------------------------------------------------------


def test_keys_are_left_out_unless_they_are_asked_for(source: Store, place: Archive) -> None:
    written = writing.write(source, place)

    live = [key for key in source.log.keys() if key.wrapped is not None]
    assert verify(place).keys is None
    assert (written.certificate.vault, written.left_out) == (None, len(live))
    assert not any(contains(place, key) for key in live)


def test_with_keys_an_archive_has_them_as_they_are_kept(source: Store, place: Archive) -> None:
    written = writing.write(source, place, with_keys=True)

    assert verify(place).keys == source.log.keys()
    assert written.certificate.vault
    assert written.certificate.vault.digest == digest(source.log.keys())


def test_keys_can_be_added_to_an_archive_without_news(source: Store, place: Archive) -> None:
    writing.write(source, place)

    writing.write(source, place, with_keys=True)

    assert verify(place).ok
    assert verify(place).keys == source.log.keys()


def test_a_key_that_is_erased_leaves_the_archive(source: Store, place: Archive) -> None:
    writing.write(source, place, with_keys=True)
    [key] = [each for each in source.log.keys() if each.subject == "user-bo"]
    assert contains(place, key)

    do(source, "user.erase", id="bo")
    writing.write(source, place, with_keys=True)

    assert not contains(place, key)
    assert verify(place).ok
    assert verify(place).keys == source.log.keys()
    assert events_of(place) == everything(source)
    assert list(place.path.parent.glob("*.part")) == []


def test_an_archive_with_keys_is_whole_until_its_successor_is(
    source: Store, place: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing.write(source, place, with_keys=True)
    before = place.path.read_bytes()
    do(source, "user.erase", id="bo")
    with monkeypatch.context() as patch:
        patch.setattr(writing, "end_frame", lambda *_: b"")
        with pytest.raises(BrokenLog):
            writing.write(source, place, with_keys=True)
    assert place.path.read_bytes() == before

    writing.write(source, place, with_keys=True)

    assert verify(place).keys == source.log.keys()


def test_keys_are_not_lost_by_a_run_that_leaves_them_out(source: Store, place: Archive) -> None:
    writing.write(source, place, with_keys=True)
    before = place.path.read_bytes()

    with pytest.raises(Refused, match="give --with-keys"):
        writing.write(source, place)

    assert place.path.read_bytes() == before


# --- what is refused ------------------------------------------------------------------


def test_an_archive_of_another_log_is_refused(
    archive: Archive, new_store: Callable[[], Store]
) -> None:
    before = archive.path.read_bytes()

    with pytest.raises(ForeignTarget, match="is of log"):
        writing.write(new_store(), archive)

    assert archive.path.read_bytes() == before


def test_an_archive_of_the_same_log_that_went_another_way_is_refused(
    long: Store, archive: Archive, new_store: Callable[[], Store]
) -> None:
    twin = new_store()
    fill(survey(archive), twin)
    for store, name in (long, "here"), (twin, "there"):
        register(store, name)
    writing.write(long, archive)
    before = archive.path.read_bytes()

    with pytest.raises(ForeignTarget, match="differ at position 2501"):
        writing.write(twin, archive)

    assert archive.path.read_bytes() == before


def test_an_archive_that_goes_on_further_is_refused(
    long: Store, archive: Archive, new_store: Callable[[], Store]
) -> None:
    twin = new_store()
    fill(survey(archive), twin)
    register(long, "new")
    writing.write(long, archive)

    with pytest.raises(ForeignTarget, match="goes on to position 2501, the source ends at 2500"):
        writing.write(twin, archive)


def test_a_store_that_is_being_filled_is_not_archived(source: Store, place: Archive) -> None:
    source.log.change_state(State.FILLING)

    with pytest.raises(Filling):
        writing.write(source, place)

    assert not place.path.exists()


def test_a_damaged_source_is_named_by_its_block(
    new_store: Callable[[], Store], place: Archive
) -> None:
    store = new_store()
    store.log.append(list(many(2_500)))
    seal(store.log, 0, 1_000)
    store.log.add_seals([Seal(0, 2_000, b"\0" * 32)])

    with pytest.raises(BrokenLog) as broken:
        writing.write(store, place)

    assert (broken.value.first, broken.value.last) == (1_001, 2_000)


def test_a_damaged_archive_is_not_appended_to(long: Store, archive: Archive) -> None:
    spoilt = bytearray(archive.path.read_bytes())
    spoilt[frame_ends(archive)[0] + 100] ^= 1
    archive.path.write_bytes(spoilt)
    register(long, "new")

    with pytest.raises(BrokenLog) as broken:
        writing.write(long, archive)

    assert (broken.value.first, broken.value.last) == (1, 1_000)
    assert archive.path.read_bytes() == bytes(spoilt)


# --- the file -------------------------------------------------------------------------


@pytest.mark.parametrize("with_keys", [False, True])
def test_the_file_is_for_its_owner_alone(source: Store, place: Archive, with_keys: bool) -> None:
    before = os.umask(0)
    try:
        writing.write(source, place, with_keys=with_keys)
        do(source, "user.erase", id="bo")
        writing.write(source, place, with_keys=with_keys)
    finally:
        os.umask(before)

    assert stat.S_IMODE(place.path.stat().st_mode) == 0o600


@pytest.mark.parametrize("is_dangling", [False, True])
def test_a_symbolic_link_is_not_followed(
    long: Store, archive: Archive, tmp_path: Path, is_dangling: bool
) -> None:
    link = Archive(tmp_path / "link.zst")
    aim = tmp_path / "nothing" if is_dangling else archive.path
    link.path.symlink_to(aim)
    before = archive.path.read_bytes()
    register(long, "new")

    with pytest.raises(NoArchive, match="is a symbolic link"):
        writing.write(long, link)
    with pytest.raises(NoArchive, match="is a symbolic link"):
        verify(link)

    assert archive.path.read_bytes() == before
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("text", [b"", b"notes", b"\x28\xb5\x2f\xfd", format.end_frame(0, b"")])
def test_a_file_of_something_else_is_left_alone(long: Store, place: Archive, text: bytes) -> None:
    place.path.write_bytes(text)

    with pytest.raises(NoArchive, match="is no archive of refold"):
        writing.write(long, place)

    assert place.path.read_bytes() == text


def test_a_folder_and_a_pipe_are_no_archives(long: Store, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in tmp_path, tmp_path / "pipe":
        with pytest.raises(NoArchive, match="is no plain file"):
            writing.write(long, Archive(path))


def test_a_format_of_a_newer_refold_is_refused(
    long: Store, place: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(writing, "FORMAT", 2)
        patch.setattr(reading, "FORMAT", 2)
        writing.write(long, place)

    with pytest.raises(NoArchive, match="has format 2, this refold knows 1"):
        verify(place)


def test_one_process_at_a_time_writes_to_an_archive(long: Store, archive: Archive) -> None:
    with opened(archive), pytest.raises(Unavailable, match="another process is at work"):
        writing.write(long, archive)
    with opened(archive), opened(archive):
        pass  # many may read


def test_a_folder_that_is_not_there_is_told(long: Store, tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="No such file or directory"):
        writing.write(long, Archive(tmp_path / "nowhere" / "backup.zst"))


# --- what an archive holds ------------------------------------------------------------


def events_of(place: Archive) -> list[Recorded]:
    with opened(place) as file:
        return [each for page in reading.events(Reading(place, file)) for each in page]


def blocks_of(place: Archive) -> list[format.BlockEnd]:
    with opened(place) as file:
        return [block.end for block in Reading(place, file).blocks()]


def frame_ends(place: Archive) -> list[int]:
    with opened(place) as file:
        frames = format.Frames(file)
        return [frame.end for frame in iter(frames.next, None)]


def contains(place: Archive, key: Key) -> bool:
    """Tell whether a key stands anywhere in the file, as it is kept."""
    with place.path.open("rb") as file:
        reader = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True)
        return b64encode(key.wrapped or b"") in reader.read()


def chain_of(store: Store) -> bytes:
    link = chain.genesis(0)
    for record in everything(store):
        link = chain.link(link, record)
    return link
