"""Blobs that go along with a store, between folders and buckets, and what is told of them."""

import json
import secrets
import signal
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random
from threading import Barrier, Event, Lock, Thread
from time import sleep
from typing import Final

import pytest

from refold.domain.errors import Unavailable
from refold.domain.ports import Blobs, State
from refold.infrastructure import config
from refold.infrastructure.blobs.inventory import THREADS, Count, Inventory, Seen
from refold.infrastructure.blobs.s3 import PART
from refold.infrastructure.blobs.s3_place import client
from refold.infrastructure.failpoints import VARIABLE
from refold.infrastructure.moving import cutover
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.heads import head
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.services import media
from refold.infrastructure.store import Store
from refold.tests.contract.two_stores import states
from refold.tests.infrastructure.faults import forks
from refold.tests.infrastructure.faults.processes import refold
from refold.tests.s3_server import BUCKET, S3Server

WAYS: Final = [("disk", "s3"), ("s3", "disk"), ("disk", "disk"), ("s3", "s3")]
ways = pytest.mark.parametrize("way", WAYS, ids="-".join)
NUMBERS: Final = count()
LARGE: Final = Random(8).randbytes(PART + 99)  # noqa: S311 - no secret


@dataclass(frozen=True)
class Side:
    """A store on SQLite whose blobs are in a place of its own, as a `refold.toml` says."""

    url: str
    config: Path
    place: str

    def opened(self) -> Store:
        return open_store(self.url, create=True, settings=config.read(self.url, self.config))

    @property
    def blobs(self) -> Blobs:
        with self.opened() as store:
            return store.blobs


@pytest.fixture
def side(s3: S3Server, tmp_path: Path) -> Callable[[str], Side]:
    """Makes sides: `disk` or `s3`."""

    def new(kind: str) -> Side:
        name = f"{kind}-{next(NUMBERS)}"
        place = str(tmp_path / f"{name}-blobs")
        keys: dict[str, object] = {"provider": "disk", "folder": place}
        if kind == "s3":
            place = f"{secrets.token_hex(6)}/"
            keys = {
                "provider": "s3",
                "bucket": BUCKET,
                "region": "us-east-1",
                "endpoint": s3.endpoint,
                "path_style": True,
                "prefix": place,
                "access_key": s3.access_key,
                "secret_key": s3.secret_key,
            }
        lines = [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
        file = tmp_path / f"{name}.toml"
        file.write_text("\n".join(["[storage.media]", *lines]))
        return Side(f"sqlite:///{tmp_path / name}.db", file, place)

    return new


# --- carrying -------------------------------------------------------------------------


@ways
def test_a_copy_brings_the_blobs_to_any_place_once(
    side: Callable[[str], Side], way: tuple[str, str]
) -> None:
    here, there = map(side, way)
    with here.opened() as source, there.opened() as target:
        names = [upload(source, b"%d" % number) for number in range(5)]
        source.blobs.put([b"nobody's"])

        certificate = copy(source, target)
        again = copy(source, target)
        target.blobs.delete(names[0])
        repaired = copy(source, target)

        orphan = sha256(b"nobody's").hexdigest()
        found = certificate.blobs
        assert certificate.equal
        assert (found.count, found.size, found.sent) == (5, 5, 5)
        assert (found.missing, found.damaged, found.orphaned) == ((), (), (orphan,))
        assert [blob.sha256 for blob in target.blobs.list()] == sorted(names)
        assert (again.equal, again.blobs.sent) == (True, 0)
        assert (repaired.equal, repaired.blobs.sent) == (True, 1)


@ways
def test_a_cutover_brings_what_a_follower_did_not(
    side: Callable[[str], Side], way: tuple[str, str]
) -> None:
    here, there = map(side, way)
    with here.opened() as source, there.opened() as target:
        first, stopped = upload(source, b"first"), Event()
        following = Thread(target=cutover.follow, args=(source, target, stopped))
        following.start()
        while head(target).positions.total < 1:
            sleep(0.01)
        followed = [blob.sha256 for blob in target.blobs.list()]
        stopped.set()
        following.join()
        second = upload(source, b"second")
        orphan = source.blobs.put([b"nobody's"]).sha256

        certificate = cutover.move(source, target)

        assert followed == [first]
        assert certificate.equal
        assert (certificate.blobs.count, certificate.blobs.sent) == (2, 1)
        assert certificate.blobs.orphaned == (orphan,)
        assert b"".join(target.blobs.get(second)) == b"second"


def test_a_move_stays_where_it_is_when_a_blob_is_missing_or_damaged(
    side: Callable[[str], Side],
) -> None:
    here, there = side("disk"), side("s3")
    with here.opened() as source, there.opened() as target:
        missing, damaged = upload(source, b"missing"), upload(source, b"damaged")
        upload(source, b"well")
        source.blobs.delete(missing)
        Path(here.place, damaged[:2], damaged).write_bytes(b"other bytes")

        certificate = cutover.move(source, target)

        assert certificate.differences == ["missing blobs: 1", "damaged blobs: 1"]
        assert certificate.pause is None  # it was never sealed
        assert certificate.blobs.missing == (missing,)
        assert certificate.blobs.damaged == (damaged,)
        assert states(source, target)[0] is State.OPEN
        assert [blob.sha256 for blob in target.blobs.list()] == [sha256(b"well").hexdigest()]
        assert verify(source).blobs == replace(certificate.blobs, sent=0)


@pytest.mark.parametrize("way", WAYS[:2], ids="-".join)
def test_a_large_blob_is_never_in_memory(side: Callable[[str], Side], way: tuple[str, str]) -> None:
    here, there = map(side, way)
    with here.opened() as source, there.opened() as target:
        upload(source, *[LARGE[: 1 << 20]] * 24)

        tracemalloc.start()
        certificate = copy(source, target)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert certificate.equal
        assert certificate.blobs.size == 24 << 20
        assert peak < 20 << 20


# --- killed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "step"),
    [
        (("disk", "s3"), "part sent"),
        (("disk", "disk"), "inside one"),
    ],
    ids=str,
)
def test_a_copy_killed_inside_a_blob_goes_on_without_sending_others_again(
    side: Callable[[str], Side],
    way: tuple[str, str],
    step: str,
    tmp_path: Path,
    s3: S3Server,
    record_property: Callable[[str, object], None],
) -> None:
    here, there = map(side, way)
    with here.opened() as source:
        for number in range(THREADS + 4):
            upload(source, b"%d" % number)
        large = upload(source, LARGE)
    places = [here.url, there.url]
    files = ["--source-config", str(here.config), "--target-config", str(there.config), "--json"]

    with forks.forked(
        tmp_path, forks.refold, "copy", *places, *files, environment={VARIABLE: f"blobs: {step}"}
    ) as process:
        assert process.ended() == -signal.SIGKILL, process.stderr
    carried = {blob.sha256 for blob in there.blobs.list()}
    left = unfinished(there, s3)
    sleep(1.1)  # the bucket lists uploads with whole seconds
    again = refold("copy", *places, *files)

    record_property("kill -9 at a named step", 1)
    assert large not in carried
    assert left >= 1
    assert carried
    assert again.code == 0, again.stderr
    assert again.document["blobs"]["count"] == THREADS + 4 + 1
    assert again.document["blobs"]["sent"] == THREADS + 4 + 1 - len(carried)
    assert b"".join(there.blobs.get(large)) == LARGE
    assert unfinished(there, s3) == 0


def unfinished(side: Side, s3: S3Server) -> int:
    """Count what is there of contents that are not there."""
    if side.place.startswith("/"):
        return len(list(Path(side.place).glob("incoming-*")))
    found = client(s3.place()).list_multipart_uploads(Bucket=BUCKET, Prefix=side.place)
    return len(found.get("Uploads", ()))


# --- what is told ---------------------------------------------------------------------


def test_a_person_is_told_the_names_but_not_too_many(side: Callable[[str], Side]) -> None:
    here, there = side("disk"), side("disk")
    with here.opened() as source:
        names = sorted(upload(source, b"%d" % number) for number in range(12))
        for name in names:
            source.blobs.delete(name)
        source.blobs.put([b"nobody's"])
    orphan = sha256(b"nobody's").hexdigest()
    files = "--source-config", here.config, "--target-config", there.config

    told = refold("copy", here.url, there.url, *files)
    document = refold("copy", here.url, there.url, *files, "--json").document
    verified = refold("verify", here.url, "--config", here.config)
    compared = refold(
        "verify", here.url, there.url, "--config", here.config, "--other-config", there.config
    )

    assert [told.code, verified.code, compared.code] == [3, 3, 3]
    for said in told, verified:
        lines = said.stdout.splitlines()
        assert [line for line in lines if line.startswith("missing blob: ")] == [
            f"missing blob: {name}" for name in names[:10]
        ]
        assert "missing blobs besides: 2; --json tells of all" in lines
        assert f"orphaned blob: {orphan}" in lines
    assert "difference: missing blobs: 12" in told.stdout
    assert document["blobs"] == {
        "count": 12,
        "bytes": 0,
        "sent": 0,
        "missing": names,
        "damaged": [],
        "orphaned": [orphan],
    }
    assert f"difference: {here.url}: missing blobs: 12" in compared.stdout


def test_progress_tells_of_blobs_and_of_their_bytes(side: Callable[[str], Side]) -> None:
    told: dict[str, list[int]] = {"blobs": [], "bytes of blobs": []}
    here, there = side("disk"), side("disk")
    with here.opened() as source, there.opened() as target:
        upload(source, LARGE[: 2 << 20])
        upload(source, b"hello")

        copy(source, target, lambda what, done, _: told.setdefault(what, []).append(done))

    assert told["blobs"] == [1, 2]
    assert told["bytes of blobs"] == sorted(told["bytes of blobs"])
    assert told["bytes of blobs"][-1] == (2 << 20) + 5
    assert len(told["bytes of blobs"]) > 8  # also within a large one


# --- threads --------------------------------------------------------------------------


def test_so_many_threads_are_at_it_and_no_more() -> None:
    together, one_at_a_time = Barrier(THREADS, timeout=10), Lock()
    running = most = 0

    def look(name: str, count: Count) -> Seen:
        nonlocal running, most
        with one_at_a_time:
            running += 1
            most = max(most, running)
        together.wait()
        with one_at_a_time:
            running -= 1
        return Seen(1)

    found = Inventory(look)
    found.add(str(number) for number in range(4 * THREADS))
    found.add(["1", "2"])

    assert most == THREADS
    assert found.proof().count == 4 * THREADS


def test_a_place_that_fails_ends_it_without_trying_all_the_others() -> None:
    tried: list[str] = []

    def look(name: str, count: Count) -> Seen:
        tried.append(name)
        sleep(0.001)
        raise Unavailable("the bucket is away")

    with pytest.raises(Unavailable, match="the bucket is away"):
        Inventory(look).add(str(number) for number in range(500))

    assert len(tried) < 100


def upload(store: Store, *chunks: bytes) -> str:
    name = f"m{next(NUMBERS)}"
    return media.put(store, chunks, id=name, mime_type="a/b", uploader="ada").content_hash
