"""Search in FTS5's own words: queries as MATCH expressions, documents as texts.

For a table made by `fts5(words, tokenize='ascii')`. Each token is quoted, so that none is taken
for an operator such as NEAR; tokens hold a-z and 0-9 only, so nothing is escaped.
"""

from typing import Final

from refold.projections.query import Phrase, Query, Term
from refold.projections.words import Document

NOTHING: Final = '""'  # a phrase without tokens; FTS5 refuses the empty expression
BORDER: Final = " ¶ "  # a token to FTS5 that no query can hold: it is not a-z or 0-9


def render(query: Query, fields: str) -> str:
    """Return a MATCH expression that searches `fields`; it matches nothing if `query` is empty."""
    if not query.alternatives:
        return NOTHING
    return " OR ".join(_conjunction(terms, fields) for terms in query.alternatives)


def text(document: Document) -> str:
    """Return what is indexed; a phrase never crosses two runs."""
    return BORDER.join(map(" ".join, document.runs()))


def _conjunction(terms: tuple[Term, ...], fields: str) -> str:
    wanted = " AND ".join(_term(term, fields) for term in terms if not term.negated)
    unwanted = " OR ".join(_term(term, fields) for term in terms if term.negated)
    return f"(({wanted}) NOT ({unwanted}))" if unwanted else f"({wanted})"


def _term(term: Term, fields: str) -> str:
    return f"({' OR '.join(map(_phrase, term.phrases(fields)))})"


def _phrase(phrase: Phrase) -> str:
    exact = f'"{" ".join(phrase.words)}"'
    if not phrase.start:
        return exact
    return f'{exact} OR "{" ".join([*phrase.words[:-1], phrase.start])}"*'
