"""What a person may type to search, and how it is understood."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.projections.query import MOST_TERMS, MOST_WORDS, Query, Term, parse

OPERATORS = st.lists(
    st.sampled_from(["or", "OR", "-", '"', "*", " ", "a", "bC", "é", "\0", "\ud800"])
)
ANY_TEXT = st.text(st.characters(exclude_categories=[])) | OPERATORS.map("".join)


def term(phrase: str, start: str | None = None, negated: bool = False) -> Term:
    return Term(tuple(phrase.split()), start, negated)


def not_(phrase: str, start: str | None = None) -> Term:
    return term(phrase, start, negated=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("foo bar", [term("foo"), term("bar")]),
        ('"foo bar"', [term("foo bar")]),
        ("libgo-12", [term("libgo 12")]),
        ("fooBar", [term("foo bar")]),
        ("foo -bar", [term("foo"), not_("bar")]),
        ("foo --bar", [term("foo"), not_("bar")]),
        ('-"foo bar" baz', [not_("foo bar"), term("baz")]),
        ("foo - bar", [term("foo"), term("bar")]),
        ("running", [term("run")]),
        ("Running*", [term("run", start="running")]),
        ("libs-runn*", [term("lib runn", start="runn")]),
        ('"foo ba"*', [term("foo ba", start="ba")]),
        ('"foo ba*"', [term("foo ba")]),
        ("foo -ba*", [term("foo"), not_("ba", start="ba")]),
        ('foo"bar baz"', [term("foo"), term("bar baz")]),
        ('foo "bar baz', [term("foo"), term("bar baz")]),
        ('foo "', [term("foo")]),
        ("foo * -* ¶ \0 \ud800", [term("foo")]),
        ("order for", [term("order"), term("for")]),
        ('"or" foo', [term("or"), term("foo")]),
        ('or"foo"', [term("or"), term("foo")]),
        ("or* foo", [term("or", start="or"), term("foo")]),
        ("name:foo", [term("name foo")]),
        ("foo & !bar | (baz)", [term("foo"), term("bar"), term("baz")]),
        (
            "foo NEAR bar NOT baz",
            [term("foo"), term("near"), term("bar"), term("not"), term("baz")],
        ),
    ],
)
def test_terms_are_joined(text: str, expected: list[Term]) -> None:
    assert parse(text) == Query((tuple(expected),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b or c", [[term("a"), term("b")], [term("c")]]),
        ("a OR b Or c", [[term("a")], [term("b")], [term("c")]]),
        ("or a or or b or", [[term("a")], [term("b")]]),
        ("a or -b", [[term("a")]]),
        ("a or b -c", [[term("a")], [term("b"), not_("c")]]),
    ],
)
def test_or_parts_alternatives(text: str, expected: list[list[Term]]) -> None:
    assert parse(text) == Query(tuple(map(tuple, expected)))


@pytest.mark.parametrize("text", ["", " ", "or", "-a", "-a or -b", '"', '""', "*", "-", "\0", "()"])
def test_a_query_without_anything_to_look_for_finds_nothing(text: str) -> None:
    assert parse(text) == Query()


def test_only_so_many_terms_are_used() -> None:
    (used,) = parse(" ".join(f"w{n}" for n in range(1_000))).alternatives

    assert used == tuple(term(f"w{n}") for n in range(MOST_TERMS))


def test_a_phrase_that_is_too_long_is_sought_by_its_beginning() -> None:
    (used,) = parse("a-" * 1_000 + "b*").alternatives

    assert used == (term("a " * MOST_WORDS),)


@given(ANY_TEXT)
def test_every_text_is_a_query(text: str) -> None:
    for terms in parse(text).alternatives:
        assert any(not term.negated for term in terms)
        for token in (word for term in terms for word in term.words):
            assert re.fullmatch("[a-z0-9]+", token)
        assert all(term.words for term in terms)
