"""Search in PostgreSQL's own words: queries as tsquery, documents as tsvector.

Both are casts from text, not `to_tsquery` and `to_tsvector`: those would make tokens of their
own. Tokens hold a-z and 0-9 only, so there is nothing to escape.
"""

from collections.abc import Iterator
from typing import Final

from refold.projections.query import Query, Term
from refold.projections.words import Document

NAME: Final = "A"
TAGS: Final = "B"
TYPE: Final = "C"
ALL_FIELDS: Final = NAME + TAGS + TYPE


def render(query: Query, fields: str = ALL_FIELDS) -> str:
    """Return the text of a tsquery that searches `fields`, some of the letters A, B and C.

    A query without alternatives is the empty tsquery, which matches nothing.
    """
    # Without weights GIN answers from the index alone; with them each row is looked at again.
    weights = "" if set(fields) == set(ALL_FIELDS) else fields
    return " | ".join(_conjunction(terms, weights) for terms in query.alternatives)


def vector(document: Document) -> str:
    """Return the text of a tsvector; a free position keeps phrases within a field or tag."""
    return " ".join(_lexemes(document))


def _conjunction(terms: tuple[Term, ...], weights: str) -> str:
    return f"({' & '.join(_term(term, weights) for term in terms)})"


def _term(term: Term, weights: str) -> str:
    *whole, last = (_word(word, weights) for word in term.words)
    if term.start:
        last = f"({last} | {_word(term.start, f'*{weights}')})"
    return f"{'!' if term.negated else ''}({' <-> '.join([*whole, last])})"


def _word(word: str, flags: str) -> str:
    return f"'{word}':{flags}" if flags else f"'{word}'"


def _lexemes(document: Document) -> Iterator[str]:
    position = 0
    for weight, run in _runs(document):
        for word in run:
            position += 1
            yield f"'{word}':{position}{weight}"
        position += 1


def _runs(document: Document) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield NAME, document.name
    for tag in document.tags:
        yield TAGS, tag
    yield TYPE, document.type
