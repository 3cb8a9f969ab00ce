"""What is big in a push is cut out of its document and put back, wherever it stands."""

import copy
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.infrastructure.codec import NotStorable, canonical
from refold.infrastructure.push_documents import LARGEST, LONGEST, below, cut, forms, restore, same

BIG = "x" * (LONGEST + 1)
KEYS = st.text(st.sampled_from("ab/~01\0\ud800"), max_size=3)
LINES = ["diff - +line"] * (LARGEST // 15 + 1)
TEXTS = st.sampled_from(["", BIG, "é" * LONGEST, "\ud800" * LONGEST, "\0" * LONGEST + "x", "small"])
PARTS = st.sampled_from([LINES, LINES[:-2], {str(n): "ü\ud800" for n in range(LARGEST // 10)}])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS | PARTS,
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


def test_a_list_of_64_kib_stays_and_one_byte_more_goes() -> None:
    fits = [*["x" * 6] * 7_000, "x" * (LARGEST - 63_004)]
    too_long = ["x" * 7, *fits[1:]]

    document, blobs, contents = cut({"fits": fits, "a": [1, {"b/c~": too_long}]})

    assert len(canonical(fits)) == LARGEST
    assert document == {"fits": fits, "a": [1, {"b/c~": []}]}
    assert contents == [canonical(too_long)]
    assert blobs == {"/a/1/b~1c~0": sha256(canonical(too_long)).hexdigest()}


def test_a_large_object_leaves_an_empty_one() -> None:
    large = {str(n): "x" * 100 for n in range(1_000)}

    small, blobs, [content] = cut({"lastStep": large, "empty": {}})

    assert small == {"lastStep": {}, "empty": {}}
    assert restore(small, blobs, lambda _: [content]) == {"lastStep": large, "empty": {}}


def test_as_little_as_will_do_is_cut_out() -> None:
    step = {"stepName": "diff", "content": BIG, "logs": LINES}

    document, blobs, _ = cut({"steps": [step, {"logs": ["short"]}]})

    kept: dict[str, Any] = {"stepName": "diff", "content": None, "logs": []}
    assert document == {"steps": [kept, {"logs": ["short"]}]}
    assert blobs.keys() == {"/steps/0/content", "/steps/0/logs"}


def test_many_parts_that_are_each_small_are_cut_out_as_one() -> None:
    steps = [{"logs": LINES[: len(LINES) // 2], "content": BIG} for _ in range(3)]

    document, blobs, contents = cut({"steps": steps})

    assert document == {"steps": []}
    assert blobs.keys() == {"/steps"}
    assert contents == [canonical(steps)]


def test_what_tables_read_stays() -> None:
    many = {str(n): "x" * 100 for n in range(1_000)}
    attestation = {"reviewer": {"username": "carol", **many}, "answers": LINES, **many}
    rejection = {"timestamp": "2026-08-02T10:00:00.000Z", **many}

    document, blobs, _ = cut({"attestation": attestation, "rejection": rejection})

    assert document == {"attestation": {**attestation, "answers": []}, "rejection": rejection}
    assert blobs.keys() == {"/attestation/answers"}


def test_a_document_has_the_form_of_older_events_too_where_that_was_another() -> None:
    large = {"steps": [{"logs": LINES, "content": BIG}]}

    (now, blobs), (before, older_blobs) = forms(large)

    assert (now, blobs) == cut(large)[:2]
    assert before == {"steps": [{"logs": LINES, "content": None}]}
    assert older_blobs.keys() == {"/steps/0/content"}
    assert len(forms({"steps": [BIG]})) == 1


@pytest.mark.parametrize("odd", [float("nan"), {1}])
def test_what_has_no_json_is_left_to_who_writes_it(odd: object) -> None:
    document = {"odd": [odd, LINES]}

    assert cut(document)[0]["odd"][0] is odd


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
