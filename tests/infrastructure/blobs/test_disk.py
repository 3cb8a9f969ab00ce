"""What is special to blobs in a folder: crashes, links, rot, rights and a full disk."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from fcntl import flock
from hashlib import sha256
from io import BytesIO
from itertools import chain
from pathlib import Path
from threading import Event
from typing import IO, Any, Final

import pytest

from refold.domain.errors import BlobDiffers, NoSpace, NoSuchBlob, Unavailable
from refold.domain.ports import Blob
from refold.infrastructure.blobs import disk
from refold.infrastructure.blobs.contents import CHUNK
from refold.infrastructure.blobs.disk import DiskBlobs, NotAPlainFile

HELLO: Final = sha256(b"hello").hexdigest()
PATIENCE: Final = 60.0
"""Seconds to wait for what takes less than one."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is not there yet, nor is the one around it."""
    return tmp_path / "around" / "blobs"


@pytest.fixture
def blobs(folder: Path) -> DiskBlobs:
    """Blobs in it."""
    return DiskBlobs(folder)


# --- where a content is -------------------------------------------------------------


def test_only_a_put_makes_the_folder(blobs: DiskBlobs, folder: Path) -> None:
    assert blobs.head(HELLO) is None
    assert list(blobs.list()) == []
    blobs.delete(HELLO)
    with pytest.raises(NoSuchBlob):
        blobs.get(HELLO)
    assert not folder.parent.exists()

    blobs.put([b"hello"])

    assert (folder / HELLO[:2] / HELLO).read_bytes() == b"hello"


def test_files_and_folders_are_for_their_owner_alone(blobs: DiskBlobs, folder: Path) -> None:
    umask = os.umask(0)
    try:
        blobs.put([b"hello"])
    finally:
        os.umask(umask)

    fan = folder / HELLO[:2]
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, fan, fan / HELLO)] == [
        "0o700",
        "0o700",
        "0o600",
    ]


def test_what_is_no_blob_is_not_listed(blobs: DiskBlobs, folder: Path) -> None:
    kept = blobs.put([b"hello"])
    for name in (HELLO, "notes.txt", f"{HELLO[:2]}/.hidden", f"{HELLO[:2]}/{'0' * 64}"):
        (folder / name).write_bytes(b"stray")
    (folder / "lost+found").mkdir()

    assert list(blobs.list()) == [kept]
    assert blobs.head("0" * 64) is None


def test_a_content_read_while_it_is_deleted_comes_whole(blobs: DiskBlobs) -> None:
    content = bytes(3 * CHUNK)
    name = blobs.put([content]).sha256
    chunks = blobs.get(name)
    first = next(chunks)

    blobs.delete(name)

    assert b"".join(chain([first], chunks)) == content


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(NotAPlainFile) as refusal:
        DiskBlobs(tmp_path / "file").put([b"hello"])

    assert str(tmp_path / "file") in str(refusal.value)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    blobs = DiskBlobs(tmp_path / ("long" * 100))

    for operation in (blobs.get, blobs.head, blobs.delete, lambda _: blobs.put([b"hello"])):
        with pytest.raises(Unavailable, match=r"longlong.*: ENAMETOOLONG"):
            operation(HELLO)


# --- crashes ------------------------------------------------------------------------


def test_a_put_that_was_killed_leaves_nothing_and_the_next_one_tidies_up(
    blobs: DiskBlobs, folder: Path
) -> None:
    with putting(folder, b"hel", b"lo") as process:
        assert len(incoming(folder)) == 1
        process.kill()
        process.wait(PATIENCE)

    assert len(incoming(folder)) == 1
    assert list(blobs.list()) == []
    assert blobs.head(HELLO) is None
    with pytest.raises(NoSuchBlob):
        blobs.get(HELLO)

    other = blobs.put([b"another"])

    assert incoming(folder) == []
    assert list(blobs.list()) == [other]


def test_tidying_up_spares_what_another_process_is_writing(blobs: DiskBlobs, folder: Path) -> None:
    with putting(folder, b"hel", b"lo") as process:
        blobs.put([b"another"])
        release(process)

    assert process.returncode == 0
    assert b"".join(blobs.get(HELLO)) == b"hello"
    assert incoming(folder) == []


def test_tidying_up_spares_what_this_process_is_writing(blobs: DiskBlobs, folder: Path) -> None:
    def with_another_between() -> Iterator[bytes]:
        yield b"hel"
        blobs.put([b"another"])
        yield b"lo"

    blobs.put(with_another_between())

    assert b"".join(blobs.get(HELLO)) == b"hello"
    assert incoming(folder) == []


def test_a_file_taken_for_a_leftover_before_it_is_locked_is_made_anew(
    blobs: DiskBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def lock_after_another_tidied_up(file: int, operation: int) -> None:
        if not removed:
            [name] = incoming(folder)
            (folder / name).unlink()
            removed.append(name)
        flock(file, operation)

    monkeypatch.setattr(f"{disk.__name__}.flock", lock_after_another_tidied_up)

    blobs.put([b"hello"])

    assert len(removed) == 1
    assert b"".join(blobs.get(HELLO)) == b"hello"
    assert incoming(folder) == []


def test_puts_go_on_while_somebody_tidies_up_all_the_time(blobs: DiskBlobs, folder: Path) -> None:
    enough = Event()

    def put_and_tidy_up() -> None:
        while not enough.is_set():
            blobs.put([b"again"])

    with ThreadPoolExecutor() as pool:
        others = [pool.submit(put_and_tidy_up) for _ in range(3)]
        try:
            puts = [blobs.put([str(number).encode()]) for number in range(100)]
        finally:
            enough.set()
        for other in others:
            other.result(PATIENCE)

    assert {blob.sha256 for blob in puts} < {blob.sha256 for blob in blobs.list()}
    assert incoming(folder) == []


def test_several_processes_may_put_the_same_contents_at_once(
    blobs: DiskBlobs, folder: Path
) -> None:
    script = PRELUDE + "for n in range(200): blobs.put([str(n % 20).encode()])"
    with ExitStack() as running:
        processes = [running.enter_context(started(script, folder)) for _ in range(3)]

        codes = [process.wait(PATIENCE) for process in processes]

    assert codes == [0, 0, 0]
    assert [blob.size for blob in blobs.list()].count(1) == 10
    assert sorted(b"".join(blobs.get(blob.sha256)) for blob in blobs.list()) == sorted(
        str(number).encode() for number in range(20)
    )
    assert incoming(folder) == []


def test_a_content_is_synced_before_it_has_its_name_and_the_folders_after(
    blobs: DiskBlobs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int | str] = []
    sync, rename = os.fsync, os.rename

    def sync_and_note(file: int) -> None:
        sync(file)
        steps.append(os.fstat(file).st_ino)

    def rename_and_note(*arguments: Any, **folders: Any) -> None:
        rename(*arguments, **folders)
        steps.append("rename")

    monkeypatch.setattr(os, "fsync", sync_and_note)
    monkeypatch.setattr(os, "rename", rename_and_note)

    blobs.put([b"hello"])

    fan = folder / HELLO[:2]
    paths = (folder.parent.parent, folder.parent, fan / HELLO, fan, folder)
    *before, fan_inode, folder_inode = (path.stat().st_ino for path in paths)
    assert steps == [*before, "rename", fan_inode, folder_inode]


# --- links and other tricks ---------------------------------------------------------


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file outside, that nobody should reach through the folder."""
    path = tmp_path / "victim"
    path.write_bytes(b"hello")
    return path


def plant_link(place: Path, victim: Path) -> None:
    place.symlink_to(victim)


def plant_pipe(place: Path, _: Path) -> None:
    os.mkfifo(place)


def plant_folder(place: Path, _: Path) -> None:
    place.mkdir()


@pytest.mark.parametrize("plant", [plant_link, plant_pipe, plant_folder])
def test_what_is_no_plain_file_is_not_read(
    blobs: DiskBlobs, folder: Path, victim: Path, plant: Callable[[Path, Path], None]
) -> None:
    place = folder / HELLO[:2] / HELLO
    place.parent.mkdir(parents=True)
    plant(place, victim)

    for read in (blobs.get, blobs.head, lambda _: list(blobs.list())):
        with pytest.raises(NotAPlainFile, match=HELLO):
            read(HELLO)


def test_a_put_replaces_a_planted_link_and_leaves_its_target_alone(
    blobs: DiskBlobs, folder: Path, victim: Path
) -> None:
    place = folder / HELLO[:2] / HELLO
    place.parent.mkdir(parents=True)
    victim.write_bytes(b"secret")
    place.symlink_to(victim)

    blobs.put([b"hello"])

    assert victim.read_bytes() == b"secret"
    assert not place.is_symlink()
    assert b"".join(blobs.get(HELLO)) == b"hello"


def test_deleting_a_planted_link_leaves_its_target_alone(
    blobs: DiskBlobs, folder: Path, victim: Path
) -> None:
    place = folder / HELLO[:2] / HELLO
    place.parent.mkdir(parents=True)
    place.symlink_to(victim)

    blobs.delete(HELLO)

    assert victim.read_bytes() == b"hello"
    assert not place.is_symlink()


def test_a_planted_link_to_a_folder_is_not_followed(
    blobs: DiskBlobs, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / HELLO).write_bytes(b"hello")
    folder.mkdir(parents=True)
    (folder / HELLO[:2]).symlink_to(outside)

    for operation in (
        blobs.get,
        blobs.head,
        blobs.delete,
        lambda _: blobs.put([b"hello"]),
        lambda _: list(blobs.list()),
    ):
        with pytest.raises(NotAPlainFile, match=f"^{HELLO[:2]} in "):
            operation(HELLO)

    assert [path.name for path in outside.iterdir()] == [HELLO]
    assert incoming(folder) == []


def test_a_planted_link_among_the_leftovers_is_not_followed(
    blobs: DiskBlobs, folder: Path, victim: Path
) -> None:
    folder.mkdir(parents=True)
    planted = folder / "incoming-planted"
    planted.symlink_to(victim)

    blobs.put([b"another"])

    assert planted.is_symlink()
    assert victim.read_bytes() == b"hello"


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "big-disk").mkdir()
    (tmp_path / "media").symlink_to(tmp_path / "big-disk")
    blobs = DiskBlobs(tmp_path / "media")

    kept = blobs.put([b"hello"])

    assert list(blobs.list()) == [kept]
    assert (tmp_path / "big-disk" / HELLO[:2] / HELLO).read_bytes() == b"hello"


# --- rot ----------------------------------------------------------------------------


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def empty(path: Path) -> None:
    os.truncate(path, 0)


rots = pytest.mark.parametrize("rot", [flip, cut, empty])


@rots
def test_a_small_content_that_changed_is_not_given(
    blobs: DiskBlobs, folder: Path, rot: Callable[[Path], None]
) -> None:
    blobs.put([b"hello"])
    rot(folder / HELLO[:2] / HELLO)

    with pytest.raises(BlobDiffers) as raised:
        blobs.get(HELLO)

    assert raised.value.sha256 == HELLO
    assert raised.value.actual != HELLO


@rots
def test_a_large_content_that_changed_is_never_given_to_its_end(
    blobs: DiskBlobs, folder: Path, rot: Callable[[Path], None]
) -> None:
    name = blobs.put([bytes(3 * CHUNK)]).sha256
    rot(folder / name[:2] / name)
    given = BytesIO()

    with pytest.raises(BlobDiffers, match=name):
        given.writelines(blobs.get(name))

    assert given.tell() <= 2 * CHUNK


def test_putting_a_content_again_heals_it(blobs: DiskBlobs, folder: Path) -> None:
    blobs.put([b"hello"])
    flip(folder / HELLO[:2] / HELLO)

    blobs.put([b"hello"])

    assert b"".join(blobs.get(HELLO)) == b"hello"


# --- a full disk --------------------------------------------------------------------


def test_where_there_is_no_room_the_error_says_so_and_nothing_is_kept(
    blobs: DiskBlobs, folder: Path
) -> None:
    script = PRELUDE + (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "try: blobs.put([bytes(60_000), bytes(60_000)])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "blobs.put([b'hello'])\n"
    )
    with started(script, folder) as process:
        stdout, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 0
    assert stdout.decode() == f"NoSpace there is no room for a blob in {folder}: EFBIG\n"
    assert issubclass(NoSpace, Unavailable)
    assert list(blobs.list()) == [Blob(HELLO, 5)]
    assert incoming(folder) == []


# --- other processes ----------------------------------------------------------------

PRELUDE: Final = (
    "import sys\n"
    "from pathlib import Path\n"
    "from refold.infrastructure.blobs.disk import DiskBlobs\n"
    "blobs = DiskBlobs(Path(sys.argv[1]))\n"
)
HALF_A_PUT: Final = PRELUDE + (
    "def chunks():\n"
    "    yield bytes.fromhex(sys.argv[2])\n"
    "    print('half', flush=True)\n"
    "    sys.stdin.readline()\n"
    "    yield bytes.fromhex(sys.argv[3])\n"
    "blobs.put(chunks())\n"
)


@contextmanager
def putting(folder: Path, first: bytes, second: bytes) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that has written `first` and waits before `second`."""
    with started(HALF_A_PUT, folder, first.hex(), second.hex()) as process:
        assert pipe(process.stdout).readline() == b"half\n"
        yield process


def release(process: "subprocess.Popen[bytes]") -> None:
    """Let it write the rest and end."""
    pipe(process.stdin).write(b"\n")
    pipe(process.stdin).flush()
    process.wait(PATIENCE)


@contextmanager
def started(script: str, *arguments: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def incoming(folder: Path) -> list[str]:
    """Return the names of the files that are being written, or were when their process died."""
    return [path.name for path in folder.iterdir() if path.name.startswith("incoming-")]
