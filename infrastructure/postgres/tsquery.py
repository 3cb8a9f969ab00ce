"""Search in PostgreSQL's own words: queries as tsquery, documents as tsvector.

Both are casts from text, not `to_tsquery` and `to_tsvector`: those would make tokens of their
own. Tokens hold a-z and 0-9 only, so there is nothing to escape.

A GIN index gives all matches or none, and the newest are wanted. So each word stands behind the
number of a block of places, `3-librari`, and a query asks one block after the other.
"""

from collections.abc import Iterator
from typing import Final

from refold.projections.query import Query, Term
from refold.projections.words import Document

NAME: Final = "A"
TAGS: Final = "B"
TYPE: Final = "C"
ALL_FIELDS: Final = NAME + TAGS + TYPE

BLOCK: Final = "#"
"""What stands for the number of a block in the text of a query."""

BITS_OF_BLOCK: Final = 26
"""Bits of a place within its block: 2**18 positions, so 20 blocks are 5 million events."""


def render(query: Query, fields: str = ALL_FIELDS) -> str:
    """Return the text of a tsquery that searches `fields`, some of the letters A, B and C.

    It is one when `BLOCK` is replaced by the number of the block to be searched. A query without
    alternatives is the empty tsquery, which matches nothing.
    """
    # Without weights GIN answers from the index alone; with them each row is looked at again.
    weights = "" if set(fields) == set(ALL_FIELDS) else fields
    return " | ".join(_conjunction(terms, weights) for terms in query.alternatives)


def vector(document: Document, place: int) -> str:
    """Return the text of a tsvector; a free position keeps phrases within a field or tag."""
    return " ".join(_lexemes(document, place >> BITS_OF_BLOCK))


def _conjunction(terms: tuple[Term, ...], weights: str) -> str:
    return f"({' & '.join(_term(term, weights) for term in terms)})"


def _term(term: Term, weights: str) -> str:
    *whole, last = (_word(word, weights) for word in term.words)
    if term.start:
        last = f"({last} | {_word(term.start, f'*{weights}')})"
    return f"{'!' if term.negated else ''}({' <-> '.join([*whole, last])})"


def _word(word: str, flags: str) -> str:
    lexeme = f"'{BLOCK}-{word}'"
    return f"{lexeme}:{flags}" if flags else lexeme


def _lexemes(document: Document, block: int) -> Iterator[str]:
    position = 0
    for weight, run in _runs(document):
        for word in run:
            position += 1
            yield f"'{block}-{word}':{position}{weight}"
        position += 1


def _runs(document: Document) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield NAME, document.name
    for tag in document.tags:
        yield TAGS, tag
    yield TYPE, document.type
