"""What blobs promise, wherever they are kept (see `domain/ports.py`).

Each test runs once for each of `PLACES`. None is excused: a promise that one of them cannot keep
does not belong in the port.
"""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from random import Random
from threading import Barrier
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from refold.domain.errors import BadInput, NoSuchBlob, TooLarge, WrongHash
from refold.domain.ports import Blob, Blobs
from refold.domain.texts import NotASha256
from refold.infrastructure.blobs.contents import CHUNK
from refold.infrastructure.blobs.disk import DiskBlobs
from refold.infrastructure.blobs.memory import MemoryBlobs
from refold.infrastructure.blobs.s3 import S3Blobs

PLACES: Final[dict[str, Callable[[pytest.FixtureRequest, Path], Blobs]]] = {
    "memory": lambda _, __: MemoryBlobs(),
    "disk": lambda _, path: DiskBlobs(path),
    "s3": lambda request, path: S3Blobs(request.getfixturevalue("s3").place(f"{path.name}/")),
}
HELLO: Final = sha256(b"hello").hexdigest()
STEPS: Final = 10
SLOW: Final = {"s3": 5}
"""How many times fewer examples the machine tries where every step is several requests."""


@pytest.fixture(params=PLACES)
def new_blobs(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Blobs]:
    """Makes empty places for blobs; each gets a path of its own, whose name no other test has."""
    return lambda: PLACES[request.param](request, tmp_path / f"blobs-{secrets.token_hex(6)}")


@pytest.fixture
def blobs(new_blobs: Callable[[], Blobs]) -> Blobs:
    """An empty place for blobs."""
    return new_blobs()


def test_each_place_is_one_and_no_other(new_blobs: Callable[[], Blobs]) -> None:
    one, other = new_blobs(), new_blobs()

    assert one.place == one.place
    assert one.place != other.place


# --- what comes back ----------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3_000_007])
def test_a_content_comes_back_under_its_hash(blobs: Blobs, size: int) -> None:
    content = any_bytes(size)

    blob = blobs.put([content])

    assert blob == Blob(sha256(content).hexdigest(), size)
    assert b"".join(blobs.get(blob.sha256)) == content
    assert blobs.head(blob.sha256) == blob


@pytest.mark.parametrize(
    "chunks", [[], [b""], [b"", b"he", b"", b"llo", b""], [b"x" * (CHUNK + 1)] * 3]
)
def test_chunks_of_any_size_make_one_content(blobs: Blobs, chunks: list[bytes]) -> None:
    blob = blobs.put(iter(chunks))

    assert blob == blobs.put([b"".join(chunks)])
    assert b"".join(blobs.get(blob.sha256)) == b"".join(chunks)


def test_a_large_content_comes_in_chunks(blobs: Blobs) -> None:
    blob = blobs.put([bytes(3_000_007)])

    sizes = [len(chunk) for chunk in blobs.get(blob.sha256)]

    assert sum(sizes) == 3_000_007
    assert 0 < min(sizes) <= max(sizes) <= CHUNK


def test_the_same_content_twice_is_kept_once(blobs: Blobs) -> None:
    first = blobs.put([b"hello"])
    again = blobs.put([b"he", b"llo"])

    assert first == again == Blob(HELLO, 5)
    assert list(blobs.list()) == [first]


def test_blobs_are_listed_in_the_order_of_their_names(blobs: Blobs) -> None:
    numbers = [str(number).encode() for number in range(3_000)]
    alike = [number for number in numbers if sha256(number).digest()[0] == 0xAB]
    contents = alike + numbers[:20]
    kept = [blobs.put([content]) for content in contents]

    listed = list(blobs.list())

    assert listed == sorted(kept, key=lambda blob: blob.sha256)
    assert listed != kept
    assert len(alike) > 5


def test_a_content_being_written_is_not_there_yet(blobs: Blobs) -> None:
    seen = []

    def watched() -> Iterator[bytes]:
        yield b"hel"
        seen.append((blobs.head(HELLO), list(blobs.list())))
        yield b"lo"
        seen.append((blobs.head(HELLO), list(blobs.list())))

    blobs.put(watched())

    assert seen == [(None, [])] * 2
    assert blobs.head(HELLO) == Blob(HELLO, 5)


def test_many_may_put_the_same_contents_at_once(blobs: Blobs) -> None:
    contents = [bytes([number]) * 50_000 for number in range(5)]
    line_up = Barrier(8, timeout=10)

    def put_all(_: int) -> list[Blob]:
        line_up.wait()
        return [blobs.put([content[:7], content[7:]]) for content in contents]

    with ThreadPoolExecutor(line_up.parties) as pool:
        puts = list(pool.map(put_all, range(line_up.parties)))

    assert puts == [puts[0]] * line_up.parties
    assert [b"".join(blobs.get(blob.sha256)) for blob in puts[0]] == contents
    assert list(blobs.list()) == sorted(puts[0], key=lambda blob: blob.sha256)


# --- what is refused ----------------------------------------------------------------


def test_the_expected_content_is_kept(blobs: Blobs) -> None:
    assert blobs.put([b"hello"], expected=HELLO, cap=5) == Blob(HELLO, 5)
    assert blobs.head(HELLO) == Blob(HELLO, 5)


def test_another_content_than_the_expected_is_refused_and_not_kept(blobs: Blobs) -> None:
    with pytest.raises(WrongHash) as refusal:
        blobs.put([b"hallo"], expected=HELLO)

    assert refusal.value.expected == HELLO
    assert refusal.value.actual == sha256(b"hallo").hexdigest()
    assert list(blobs.list()) == []


def test_a_content_above_the_cap_is_refused_without_reading_on(blobs: Blobs) -> None:
    chunks = iter([b"hello"] * 10)

    with pytest.raises(TooLarge) as refusal:
        blobs.put(chunks, cap=12)

    assert refusal.value.cap == 12
    assert len(list(chunks)) == 7
    assert list(blobs.list()) == []


def test_a_cap_of_nothing_lets_nothing_in_but_the_empty_content(blobs: Blobs) -> None:
    with pytest.raises(TooLarge):
        blobs.put([b"a"], cap=0)

    empty = blobs.put([b"", b""], cap=0)

    assert list(blobs.list()) == [empty]


@pytest.mark.parametrize("error", [ConnectionResetError("gone"), ValueError("odd")])
def test_what_a_stream_raises_comes_out_as_it_is_and_nothing_is_kept(
    blobs: Blobs, error: Exception
) -> None:
    def broken() -> Iterator[bytes]:
        yield b"hello"
        raise error

    with pytest.raises(type(error)) as raised:
        blobs.put(broken())

    assert raised.value is error
    assert list(blobs.list()) == []


def test_a_refused_content_leaves_the_others_alone(blobs: Blobs) -> None:
    kept = blobs.put([b"hello"])

    with pytest.raises(TooLarge):
        blobs.put([b"hello"], cap=4)

    assert list(blobs.list()) == [kept]
    assert b"".join(blobs.get(HELLO)) == b"hello"


BAD_NAMES: Final = {
    "empty": "",
    "a way out": "../" + "a" * 61,
    "a short way out": "../x",
    "absolute": "/" + "a" * 63,
    "upper case": "A" * 64,
    "too short": "a" * 63,
    "too long": "a" * 65,
    "a line end": "a" * 64 + "\n",
    "NUL": "a" * 63 + "\0",
    "not hexadecimal": "g" * 64,
    "other digits": "\u0661" * 64,
}

bad_names = pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)


@bad_names
@pytest.mark.parametrize("operation", ["get", "head", "delete"])
def test_a_name_that_is_no_hash_is_refused(blobs: Blobs, operation: str, name: str) -> None:
    with pytest.raises(NotASha256) as refusal:
        getattr(blobs, operation)(name)

    assert repr(name) in str(refusal.value)


@bad_names
def test_an_expected_name_that_is_no_hash_is_refused_before_reading(
    blobs: Blobs, name: str
) -> None:
    chunks = iter([b"hello"])

    with pytest.raises(NotASha256):
        blobs.put(chunks, expected=name)

    assert list(chunks) == [b"hello"]
    assert list(blobs.list()) == []


# --- what is not there --------------------------------------------------------------


def test_where_nothing_was_put_nothing_is_found(blobs: Blobs) -> None:
    assert blobs.head(HELLO) is None
    assert list(blobs.list()) == []


@pytest.mark.parametrize("content", [(), (1, 2)], ids=["whole", "range"])
def test_getting_what_is_not_there_is_refused_at_once(
    blobs: Blobs, content: tuple[int, ...]
) -> None:
    blobs.put([b"another"])

    with pytest.raises(NoSuchBlob) as refusal:
        blobs.get(HELLO, *content)

    assert refusal.value.sha256 == HELLO


def test_what_was_deleted_is_not_there_and_the_others_are(blobs: Blobs) -> None:
    other = blobs.put([b"another"])
    blobs.put([b"hello"])

    blobs.delete(HELLO)

    assert blobs.head(HELLO) is None
    assert list(blobs.list()) == [other]
    with pytest.raises(NoSuchBlob):
        blobs.get(HELLO)


def test_deleting_what_is_not_there_is_no_error(blobs: Blobs) -> None:
    blobs.delete(HELLO)
    blobs.put([b"hello"])
    blobs.delete(HELLO)
    blobs.delete(HELLO)

    assert list(blobs.list()) == []


def test_what_was_deleted_can_be_put_again(blobs: Blobs) -> None:
    blobs.put([b"hello"])
    blobs.delete(HELLO)

    blobs.put([b"hello"])

    assert b"".join(blobs.get(HELLO)) == b"hello"


# --- ranges -------------------------------------------------------------------------


def test_a_range_is_a_slice(blobs: Blobs) -> None:
    content = any_bytes(2 * CHUNK + 17)
    borders = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, len(content), len(content) + 1, 2**70)
    ends = st.one_of(st.sampled_from(borders), st.integers(0, len(content) + 5))
    name = blobs.put([content]).sha256

    @given(ends, st.none() | ends)
    def is_a_slice(start: int, end: int | None) -> None:
        assert b"".join(blobs.get(name, start, end)) == content[start:end]

    is_a_slice()


def test_every_range_of_an_empty_content_is_empty(blobs: Blobs) -> None:
    name = blobs.put([]).sha256

    assert list(blobs.get(name)) == list(blobs.get(name, 0, 5)) == list(blobs.get(name, 3)) == []


@pytest.mark.parametrize(("start", "end"), [(-1, None), (0, -1), (-2, -1)])
def test_a_range_does_not_count_from_the_end(blobs: Blobs, start: int, end: int | None) -> None:
    blobs.put([b"hello"])

    with pytest.raises(BadInput):
        blobs.get(HELLO, start, end)


# --- all of it together -------------------------------------------------------------


def test_blobs_are_a_dict(new_blobs: Callable[[], Blobs], request: pytest.FixtureRequest) -> None:
    slowness = SLOW.get(request.node.callspec.params["new_blobs"], 1)

    class Machine(BlobsAndDict):
        def __init__(self) -> None:
            super().__init__(new_blobs())

    run_state_machine_as_test(
        Machine,
        settings=settings(
            stateful_step_count=STEPS, max_examples=settings().max_examples // slowness
        ),
    )


contents = st.sampled_from([b"", b"a", b"b", b"hello", bytes(CHUNK + 1)])


class BlobsAndDict(RuleBasedStateMachine):
    """Drive blobs and a dict side by side; they must never differ."""

    def __init__(self, blobs: Blobs) -> None:
        super().__init__()
        self.blobs = blobs
        self.model: dict[str, bytes] = {}

    @rule(content=contents, split=st.integers(0, 3))
    def put(self, content: bytes, split: int) -> None:
        blob = self.blobs.put([content[:split], content[split:]])
        assert blob == Blob(sha256(content).hexdigest(), len(content))
        self.model[blob.sha256] = content

    @rule(content=contents, other=contents, cap=st.integers(0, 3))
    def put_what_may_be_refused(self, content: bytes, other: bytes, cap: int) -> None:
        try:
            blob = self.blobs.put([content], expected=sha256(other).hexdigest(), cap=cap)
        except TooLarge:
            assert len(content) > cap
        except WrongHash:
            assert content != other
        else:
            assert content == other
            self.model[blob.sha256] = content

    @rule(content=contents)
    def delete(self, content: bytes) -> None:
        name = sha256(content).hexdigest()
        self.blobs.delete(name)
        self.model.pop(name, None)

    @invariant()
    def they_hold_the_same(self) -> None:
        held = {blob.sha256: b"".join(self.blobs.get(blob.sha256)) for blob in self.blobs.list()}
        assert held == self.model
        assert list(held) == sorted(held)


def any_bytes(size: int) -> bytes:
    return Random(size).randbytes(size)  # noqa: S311 - no secret
