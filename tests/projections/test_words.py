"""What search takes for a word, and how much of a file it indexes."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.projections.words import (
    LONGEST,
    MOST_IN_NAME,
    MOST_IN_TAGS,
    MOST_IN_TYPE,
    MOST_REPEATS,
    MOST_TAGS,
    Document,
    document,
    start_of_last,
    words,
)

ANY_TEXT = st.text(st.characters(exclude_categories=[]))  # NUL and lone surrogates as well


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("  -_. \0 \ud800 ¶ ", ""),
        ("one\0two\udfffthree", "one two three"),
        (
            "libgo-12-dev-powerpc-cross_12.2.0-13cross1_all.deb",
            "libgo 12 dev powerpc cross 12 2 0 13cross1 all deb",
        ),
        ("fooBar", "foo bar"),
        ("HTMLParser", "html parser"),
        ("parseHTML", "pars html"),
        ("utf8 UTF8 Utf8", "utf8 utf8 utf8"),
        ("MP3Player x86Emulator", "mp3player x86emul"),
        ("running runs RUN", "run run run"),
        ("ÉtéBleu", "xc3a9txc3a9 bleu"),
        ("e\u0301te\u0301", "xc3a9txc3a9"),  # é in two characters is é
        ("Straße STRASSE", "strass strass"),
        ("ﬁles ①②", "file 12"),
        ("日本", "xe697a5xe69cac"),
    ],
)
def test_text_becomes_tokens(text: str, expected: str) -> None:
    assert words(text) == expected.split()


@given(ANY_TEXT)
def test_tokens_are_short_and_hold_letters_and_digits_only(text: str) -> None:
    for token in [*words(text), start_of_last(text) or "a"]:
        assert re.fullmatch(f"[a-z0-9]{{1,{LONGEST}}}", token)


@given(ANY_TEXT, ANY_TEXT)
def test_what_stands_apart_is_taken_apart(left: str, right: str) -> None:
    assert words(f"{left} {right}") == words(left) + words(right)


def test_the_last_word_being_typed_is_folded_but_not_stemmed() -> None:
    assert start_of_last("Running, Générations") == "gxc3a9nxc3a9rations"
    assert start_of_last(" - ") == ""


def test_only_the_beginning_of_a_very_long_word_counts() -> None:
    assert words("ab" * 1_000_000) == ["ab" * (LONGEST // 2)]
    assert words("é" * 1_000) == [("xc3a9" * LONGEST)[:LONGEST]]


def test_words_are_the_same_in_every_thread() -> None:
    texts = [f"generalizations{n} running{n}s" for n in range(2_000)]

    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(words, texts * 4)]

    assert found == [words(text) for text in texts] * 4


def test_a_document_keeps_its_tags_apart() -> None:
    found = document("fooBar.txt", ["holiday pictures", "?", "2024"], "text/plain")

    assert found == Document(
        name=("foo", "bar", "txt"),
        tags=(("holiday", "pictur"), ("2024",)),
        type=("text", "plain"),
    )


def test_a_document_holds_no_more_than_every_engine_can_index() -> None:
    many = " ".join(f"w{n}" for n in range(20_000))

    found = document(many, [many, "never"], many)

    assert len(found.name) == MOST_IN_NAME
    assert len(found.tags) == 1
    assert len(found.tags[0]) == MOST_IN_TAGS
    assert len(found.type) == MOST_IN_TYPE


def test_a_document_holds_so_many_tags() -> None:
    found = document("", (f"w{n}" for n in range(20_000)), "")

    assert len(found.tags) == MOST_TAGS


def test_a_document_repeats_a_word_so_often_and_tags_give_way() -> None:
    found = document("one two " * 100, ["one three " * 200, "one"], "one")

    assert found.name.count("one") == 100
    assert found.type == ("one",)
    assert len(found.tags) == 1
    assert found.tags[0].count("one") == MOST_REPEATS - 101
    assert found.tags[0].count("three") == 200
