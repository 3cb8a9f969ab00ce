"""Names of streams: every key and part has one, and no two share it."""

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from refold.domain import streams
from refold.domain.streams import name, part
from refold.domain.texts import IllFormedText

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)
AWKWARD = st.text("%/~25FE", max_size=12)
LONG = st.integers(250, 260).map(lambda n: "x" * n)


@given(TEXTS | AWKWARD | LONG, TEXTS | AWKWARD | LONG)
@example("%2F", "/")
@example("~", "%7E")
@example("%", "%25")
@example("é" * 128, "é" * 129)
def test_two_texts_never_make_the_same_part(first: str, second: str) -> None:
    assume(first != second)

    assert part(first) != part(second)


@given(TEXTS | AWKWARD | LONG)
def test_a_part_has_no_slash_and_at_most_256_bytes(text: str) -> None:
    assert "/" not in part(text)
    assert len(part(text).encode()) <= 256


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("paper.pdf", "paper.pdf"),
        ("a/b%c", "a%2Fb%25c"),
        ("~home", "%7Ehome"),
        ("home~", "home~"),
        ("x" * 256, "x" * 256),
        ("é" * 128, "é" * 128),
        ("é" * 129, "~a62bf20794e9afb2766a5305affe539386952b597ef3107ff06b810cf3edc29d"),
        ("x" * 257, "~15eb95a462ee20bd91a415ae2d4aed341288186ddaa2b37908f7d592f0c3f85f"),
    ],
)
def test_parts_are_encoded_like_this_for_ever(text: str, encoded: str) -> None:
    assert part(text) == encoded


@given(TEXTS, TEXTS, TEXTS)
def test_a_name_tells_kind_family_and_key(key: str, tag: str, voter: str) -> None:
    whole = name("file/tag_vote", key, tag, voter)

    assert whole == f"file-{part(key)}/tag_vote/{part(tag)}/{part(voter)}"
    assert streams.kind(whole) == "file/tag_vote"
    assert streams.family(whole) == name("file", key)
    assert streams.family_key(whole) == part(key)
    assert streams.kind(name("file", key)) == "file"


@given(TEXTS, TEXTS, TEXTS)
def test_a_family_lies_in_one_partition(key: str, tag: str, voter: str) -> None:
    of_the_file = streams.partition(name("file", key), 7)
    of_the_vote = streams.partition(name("file/tag_vote", key, tag, voter), 7)

    assert of_the_vote == of_the_file < 7


def test_families_are_spread_over_the_partitions() -> None:
    used = {streams.partition(name("file", f"{n:064x}"), 4) for n in range(100)}

    assert used == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("bad", "why"), [("a\0", "a NUL character"), ("\ud800", "a lone surrogate")]
)
def test_nul_and_lone_surrogates_are_in_no_name(bad: str, why: str) -> None:
    with pytest.raises(IllFormedText, match=why):
        name("file", bad)
    with pytest.raises(IllFormedText, match=why):
        name("file/tag_vote", "ab", "tag", bad)
