"""The lines of an archive give back the bytes that went in, and other programs can read them."""

import json
import subprocess
from io import BytesIO
from shutil import which

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from refold.domain.ports import Key, Recorded
from refold.infrastructure.address import Archive
from refold.infrastructure.archive.format import (
    DEEPEST,
    Frames,
    Malformed,
    Torn,
    block_frame,
    event_line,
    keys_frame,
    read_event,
)
from refold.infrastructure.archive.verifying import verify
from refold.infrastructure.codec import parse
from refold.infrastructure.store import Store
from refold.tests.infrastructure.archive.conftest import everything

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SPACED = st.builds(
    lambda value, indent, ascii: json.dumps(value, indent=indent, ensure_ascii=ascii),
    JSON,
    st.sampled_from([None, 0, 1]),
    st.booleans(),
).map(lambda text: text.encode("utf-8", "surrogatepass"))
ODD = st.sampled_from(
    [b"", b" ", b" 1", b"1 ", b"\n", b"1\r", b"01", b"1 2", b'"\xff"', b'"\\ud800"', b"NaN", b"-0"]
)
BYTES = st.binary(max_size=80) | SPACED | ODD
TEXT = st.text(st.characters(exclude_categories=["Cs"]))  # a record's texts are UTF-8
NUMBER = st.integers(-(2**63), 2**63 - 1)
RECORDS = st.builds(
    Recorded,
    partition=st.just(0),
    position=NUMBER,
    stream=TEXT,
    version=NUMBER,
    type=TEXT,
    schema=NUMBER,
    data=BYTES,
    metadata=BYTES,
    recorded_at=NUMBER,
    command_id=TEXT,
    command_no=NUMBER,
)


def record(data: bytes) -> Recorded:
    return Recorded(0, 1, "s-1", 1, "t", 1, data, b"{}", 1, "c", 0)


@given(RECORDS)
@example(record(b'{"a":1e999,"a":' + b"9" * 4_000 + b"}"))
@example(record(b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1)))
@example(record(b"[" * 100_000 + b"]" * 100_000))
@example(record(b'"' + b"[{" * 1_000 + b'"'))
@example(record("\N{LINE SEPARATOR}".join('""').encode()))
def test_an_event_comes_back_from_its_line_byte_for_byte(event: Recorded) -> None:
    line = event_line(event)

    assert read_event(line, 0) == event
    assert b"\n" not in line
    json.loads(line.decode())  # it is JSON, and UTF-8


@pytest.mark.parametrize("data", [b" 1", b"1 ", b"[1,\r2]", b"[1,\n2]", b'"\xff"', b"", b"01"])
def test_what_a_line_cannot_hold_stands_as_base64(data: bytes) -> None:
    line = event_line(record(data))

    assert b'"data_base64":' in line
    assert read_event(line, 0).data == data


@given(JSON)
def test_what_is_json_on_one_line_stands_as_json(value: object) -> None:
    try:
        data = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:
        return  # a NaN, or a lone surrogate

    line = event_line(record(data))

    assert b'"data":' + data + b',"metadata":{}' in line


def test_what_is_nested_too_deep_for_jq_stands_as_base64() -> None:
    fits, too_deep = (b"[" * levels + b"]" * levels for levels in (DEEPEST, DEEPEST + 1))
    wide = b"[" + b",".join([b"{}"] * (2 * DEEPEST)) + b"]"

    assert b'"data":[[' in event_line(record(fits))
    assert b'"data":[{}' in event_line(record(wide))
    assert b'"data_base64":' in event_line(record(too_deep))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"data":{}', b'"data":{},"data_base64":"e30="'),
        (b'"data":{},', b""),
        (b'"data":{}', b'"data":{},"more":1'),
        (b'"position":1', b'"position":"1"'),
        (b'"stream":"s-1"', b'"stream":"\xff"'),
        (b'"data":{}', b'"data_base64":"?"'),
    ],
)
def test_a_line_of_another_form_is_no_event(old: bytes, new: bytes) -> None:
    line = event_line(record(b"{}"))
    assert old in line

    with pytest.raises(Malformed):
        read_event(line.replace(old, new), 0)


@given(st.lists(st.builds(Key, TEXT, st.none() | st.binary(max_size=50), st.none() | NUMBER)))
def test_keys_come_back_from_their_frame(keys: list[Key]) -> None:
    frame = Frames(BytesIO(keys_frame(keys))).next()

    assert frame
    assert frame.keys() == keys


@given(st.data(), st.lists(RECORDS, min_size=1, max_size=3))
def test_of_a_frame_that_is_cut_off_nothing_is_read(
    data: st.DataObject, events: list[Recorded]
) -> None:
    whole = block_frame(events, b"\0" * 32, [])
    cut = data.draw(st.integers(1, len(whole) - 1))

    with pytest.raises(Torn):
        Frames(BytesIO(whole[:cut])).next()


@pytest.mark.skipif(not (which("zstd") and which("jq")), reason="needs the programs zstd and jq")
def test_zstd_and_jq_read_an_archive(source: Store, archive_of_source: Archive) -> None:
    def jq(*arguments: str) -> list[object]:
        text = subprocess.run(
            ["zstd", "-dc", str(archive_of_source.path)], check=True, capture_output=True
        ).stdout
        printed = subprocess.run(
            ["jq", "-c", *arguments], input=text, check=True, capture_output=True
        ).stdout
        return [json.loads(line) for line in printed.splitlines()]

    events = everything(source)

    assert jq("select(.position) | .position") == list(range(1, len(events) + 1))
    assert jq("select(.position) | .data") == [parse(event.data) for event in events]
    assert jq("select(.position) | .metadata.actor") == ["ada"] * len(events)
    [header] = jq("select(.archive) | .archive")
    assert isinstance(header, dict)
    assert header["log_id"] == source.log.identity().log_id
    assert header["store_id"] == source.log.identity().store_id
    assert header["source"] == source.address.public
    assert jq(".block.blobs[]?") == sorted(verify(archive_of_source).blobs)
