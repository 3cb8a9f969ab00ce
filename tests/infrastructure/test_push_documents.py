"""Big strings of a push are cut out of its document and put back, wherever they stand."""

import copy
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.infrastructure.codec import NotStorable
from refold.infrastructure.push_documents import LONGEST, below, cut, restore, same

BIG = "x" * (LONGEST + 1)
KEYS = st.text(st.sampled_from("ab/~01\0\ud800"), max_size=3)
TEXTS = st.sampled_from(["", BIG, "é" * LONGEST, "\ud800" * LONGEST, "\0" * LONGEST + "x", "small"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4))
def test_what_was_cut_out_is_put_back(document: dict[str, Any]) -> None:
    before = copy.deepcopy(document)

    small, blobs, contents = cut(document)
    kept = {sha256(content).hexdigest(): content for content in contents}
    whole = restore(small, blobs, lambda sha: [kept[sha][:100], kept[sha][100:]])

    assert whole == before == document
    assert cut(small) == (small, {}, [])
    assert len(contents) == len(kept) == len(set(blobs.values()))


def test_a_string_of_8_kib_stays_and_one_byte_more_goes() -> None:
    fits, too_long = "é" * (LONGEST // 2), "é" * (LONGEST // 2) + "x"

    document, blobs, contents = cut({"fits": fits, "a": ["", {"b/c~": too_long}]})

    assert document == {"fits": fits, "a": ["", {"b/c~": None}]}
    assert contents == [too_long.encode()]
    assert blobs == {"/a/1/b~1c~0": sha256(too_long.encode()).hexdigest()}


def test_a_half_of_a_character_is_kept_as_three_bytes() -> None:
    _, _, [content] = cut({"x": "\ud800" * LONGEST})

    assert content == b"\xed\xa0\x80" * LONGEST


def test_a_key_is_never_cut() -> None:
    assert cut({BIG: 1}) == ({BIG: 1}, {}, [])


def test_null_stays_null() -> None:
    small, blobs, [content] = cut({"null": None, "big": BIG})

    assert small == {"null": None, "big": None}
    assert restore(small, blobs, lambda _: [content]) == {"null": None, "big": BIG}


def test_the_same_string_is_one_content() -> None:
    _, blobs, contents = cut({"steps": [{"content": BIG, "logs": [BIG]}], "lastStep": BIG})

    assert len(blobs) == 3
    assert contents == [BIG.encode()]


def test_a_document_stays_as_it_is_when_it_is_restored() -> None:
    small, blobs, _ = cut({"steps": [{"content": BIG, "more": [1]}, [BIG]]})
    before = copy.deepcopy(small)

    restore(small, blobs, lambda _: [b"other"])

    assert small == before


def test_a_document_that_no_event_could_hold_is_refused() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]

    with pytest.raises(NotStorable, match="nested deeper than 64 levels"):
        cut({"deep": deep})


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (1, 1.0, True),
        (1, True, False),
        (0, False, False),
        (False, False, True),
        (None, False, False),
        ("1", 1, False),
        ([1, {"a": 2}], [1.0, {"a": 2.0}], True),
        ([1], [1, 2], False),
        ([True], [1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": 1, "b": None}, False),
        ({"a": True}, {"a": 1}, False),
        ({}, [], False),
    ],
)
def test_values_are_the_same_as_json_has_them(one: object, other: object, equal: bool) -> None:
    assert same(one, other) is equal
    assert same(other, one) is equal


def test_what_was_cut_out_below_a_field_is_told_apart_from_its_neighbours() -> None:
    blobs = {"/a": "1", "/a/0": "2", "/ab": "3", "/a~1b/x": "4"}

    assert below("a", blobs) == {"/a": "1", "/a/0": "2"}
    assert below("a/b", blobs) == {"/a~1b/x": "4"}
