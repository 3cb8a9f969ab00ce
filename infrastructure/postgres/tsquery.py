"""Search in PostgreSQL's own words: queries as tsquery, documents as tsvector.

Both are casts from text, not `to_tsquery` and `to_tsvector`: those would make tokens of their
own. Tokens hold a-z and 0-9 only, so there is nothing to escape.

A GIN index gives all matches or none, and the newest are wanted. So each token stands behind the
number of a block of places, `3-nlibrari`, and a query asks one block after the other.
"""

from collections.abc import Iterator
from typing import Final

from refold.projections.query import Phrase, Query, Term
from refold.projections.words import Document

BLOCK: Final = "#"
"""What stands for the number of a block in the text of a query."""

BITS_OF_BLOCK: Final = 24
"""Bits of a place within its block: 2**16 positions, so 77 blocks are 5 million events.

Another number, as any other text of a vector, is a new VERSION of the tables that are searched.
"""


def render(query: Query, fields: str) -> str:
    """Return the text of a tsquery that searches `fields`.

    It is one when `BLOCK` is replaced by the number of the block to be searched. A query without
    alternatives is the empty tsquery, which matches nothing.
    """
    return " | ".join(_conjunction(terms, fields) for terms in query.alternatives)


def vector(document: Document, place: int) -> str:
    """Return the text of a tsvector; a free position keeps phrases within a run."""
    return " ".join(_lexemes(document, place >> BITS_OF_BLOCK))


def _conjunction(terms: tuple[Term, ...], fields: str) -> str:
    return f"({' & '.join(_term(term, fields) for term in terms)})"


def _term(term: Term, fields: str) -> str:
    found = " | ".join(map(_phrase, term.phrases(fields)))
    return f"{'!' if term.negated else ''}({found})"


def _phrase(phrase: Phrase) -> str:
    *whole, last = map(_lexeme, phrase.words)
    if phrase.start:
        last = f"({last} | {_lexeme(phrase.start)}:*)"
    return f"({' <-> '.join([*whole, last])})"


def _lexeme(token: str) -> str:
    return f"'{BLOCK}-{token}'"


def _lexemes(document: Document, block: int) -> Iterator[str]:
    position = 0
    for run in document.runs():
        for token in run:
            position += 1
            yield f"'{block}-{token}':{position}"
        position += 1
