"""Anchors outside of a store tell when its newest events are gone, or others are in their place."""

import os
import resource
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from refold.domain.errors import BadInput, Refused, Unavailable
from refold.domain.ports import Command, NewEvent, Write
from refold.domain.positions import Positions
from refold.infrastructure import anchors, chain
from refold.infrastructure.anchors import File
from refold.infrastructure.blobs.s3_object import S3Object
from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.tests.s3_server import BUCKET, S3Server

Forge = Callable[[str], None]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store that outlives a process."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def forge(url: str) -> Forge:
    """Does to a store what only those may who may do everything to its database."""

    def do(statement: str) -> None:
        if url.startswith("sqlite"):
            with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
                for trigger in "deleted", "updated":
                    connection.execute(f"DROP TRIGGER IF EXISTS events_are_not_{trigger}")
                connection.execute(statement.format(""))
                connection.commit()
        else:
            with psycopg.connect(url) as server:
                server.execute("ALTER TABLE refold.events DISABLE TRIGGER ALL")
                server.execute(statement.format("refold.").encode())

    return do


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "store.anchor")


def append(store: Store, number: int) -> None:
    event = NewEvent("file.registered", 1, b"{}", b"{}")
    first = store.advance.head().total + 1
    store.log.append(
        [
            Command(f"c{each}", (Write(f"file-{each}", 0, (event,)),))
            for each in range(first, first + number)
        ]
    )


def test_an_anchor_for_which_there_is_no_room_leaves_those_before_as_they_were(
    url: str, file: File
) -> None:
    with open_store(url, create=True) as store:
        append(store, 2)
        anchors.add(store, file)
        size = file.path.stat().st_size
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, before[1]))
        try:
            with pytest.raises(Refused, match="cannot be written"):
                file.append(b"", b"x" * 100 + b"\n")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)

        assert file.path.stat().st_size == size
        assert anchors.check(store, file) == []


def test_a_log_fits_its_anchors_as_long_as_events_are_only_added(url: str, file: File) -> None:
    with open_store(url, create=True) as store:
        for number in 0, 7, 1_500, 0:
            append(store, number)
            [added], differences = anchors.add(store, file)

            assert differences == anchors.check(store, file) == []
            assert Positions.at(added.partition, added.position) == store.advance.head()
            assert added.log_id == store.log.identity().log_id
        append(store, 3)
        assert anchors.check(store, file) == []
        assert [seal.position for seal in store.log.seals(0)] == [1_000]

    lines = file.path.read_bytes().splitlines()
    assert [f'"position":{each},' in lines[n].decode() for n, each in enumerate((0, 7, 1507, 1507))]
    assert len(lines) == 4


@pytest.mark.parametrize("left", [0, 6, 1_400])
def test_deleted_newest_events_are_found(url: str, forge: Forge, file: File, left: int) -> None:
    with open_store(url, create=True) as store:
        append(store, 1_500)
        anchors.add(store, file)
    before = file.path.read_bytes()

    forge(f"DELETE FROM {{}}events WHERE position > {left}")
    forge(f"DELETE FROM {{}}seals WHERE position > {left}")
    with open_store(url) as store:
        [found] = anchors.check(store, file)
        [when_adding] = anchors.add(store, file)[1]

    assert found == when_adding
    assert found.startswith(f"the log ends at position {left}, but at 20")
    assert found.endswith("it went up to position 1500: its newest events are gone")
    assert file.path.read_bytes() == before


def test_events_in_the_place_of_deleted_ones_are_found(url: str, forge: Forge, file: File) -> None:
    with open_store(url, create=True) as store:
        append(store, 4)
        anchors.add(store, file)
        append(store, 4)
        anchors.add(store, file)
    forge("DELETE FROM {}events WHERE position > 6")
    with open_store(url) as store:
        append(store, 9)
        [found] = anchors.check(store, file)
        [when_adding] = anchors.add(store, file)[1]

    assert found.startswith("the log differs at position 8 from what it was at 20")
    assert found.endswith("an event behind position 4 was changed")
    assert when_adding.startswith("the log differs at position 8")


def test_an_event_that_was_changed_under_new_seals_is_found(
    url: str, forge: Forge, file: File
) -> None:
    with open_store(url, create=True) as store:
        append(store, 1_200)
        anchors.add(store, file)
    forge("UPDATE {}events SET type = 'forged' WHERE position = 3")
    with open_store(url) as store:
        [block] = anchors.check(store, file)
        assert block.startswith("partition 0 is damaged between positions 1 and 1000")

        forge("DELETE FROM {}seals")
        assert chain.seal(store.log, 0, 1_200) == 1_000
        [found] = anchors.check(store, file)

    assert found.startswith("the log differs at position 1200 from what it was")


def test_anchors_of_another_log_are_none_of_this_one(url: str, file: File, tmp_path: Path) -> None:
    with open_store(f"sqlite:///{tmp_path}/other.db", create=True) as other:
        [theirs], _ = anchors.add(other, file)
    with open_store(url, create=True) as store:
        log_id = store.log.identity().log_id

        assert anchors.check(store, file) == [
            f"the log is {log_id}, not {theirs.log_id} as at {theirs.at}"
        ]
        assert anchors.add(store, file)[1] == anchors.check(store, file)


@pytest.mark.parametrize("text", ["{}\n", "no\n", '{"log_id": "x", "partition": 0}\n', "", "["])
def test_what_is_no_anchor_is_refused(url: str, file: File, text: str) -> None:
    file.path.write_text(text)
    with open_store(url, create=True) as store, pytest.raises(BadInput, match=r"store\.anchor"):
        anchors.check(store, file)


def test_a_line_that_was_cut_off_is_refused_before_another_is_added(url: str, file: File) -> None:
    with open_store(url, create=True) as store:
        anchors.add(store, file)
        cut = file.path.read_bytes()[:-1]
        file.path.write_bytes(cut)

        with pytest.raises(BadInput, match=r"line 1 of .*store\.anchor is no anchor: it was cut"):
            anchors.add(store, file)
    assert file.path.read_bytes() == cut


def test_a_file_that_cannot_be_written_is_refused(url: str, tmp_path: Path) -> None:
    with open_store(url, create=True) as store, pytest.raises(Refused, match="No such file"):
        anchors.add(store, File(tmp_path / "not" / "there"))


def test_what_is_no_plain_file_is_not_read(url: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open_store(url, create=True) as store:
        for file in File(tmp_path), File(tmp_path / "pipe"):
            for ask in anchors.add, anchors.check:
                with pytest.raises(Unavailable, match="cannot be read: it is no plain file"):
                    ask(store, file)


def test_anchors_are_kept_in_a_bucket(url: str, forge: Forge, s3: S3Server) -> None:
    place = S3Object(s3.place(), f"anchors/{uuid4().hex}")
    nowhere = S3Object(replace(s3.place(), bucket="nowhere"), "x")
    with open_store(url, create=True) as store:
        for _ in range(2):
            append(store, 2)
            assert anchors.add(store, place)[1] == []
        assert (place.read() or b"").count(b"\n") == 2
        assert anchors.check(store, place) == []
        with pytest.raises(Unavailable, match="s3://nowhere/x cannot be used"):
            anchors.add(store, nowhere)

    forge("DELETE FROM {}events WHERE position > 3")
    with open_store(url) as store:
        [found] = anchors.check(store, place)
    assert "ends at position 3" in found
    assert str(place).startswith(f"s3://{BUCKET}/anchors/")
