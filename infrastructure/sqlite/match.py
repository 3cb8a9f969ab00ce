"""Search in FTS5's own words: queries as MATCH expressions, documents as rows of text.

For a table made by `fts5(name, tags, type, tokenize='ascii')`. Each token is quoted, so that
none is taken for an operator such as NEAR; tokens hold a-z and 0-9 only, so nothing is escaped.
"""

from collections.abc import Sequence
from typing import Final

from refold.projections.query import Query, Term
from refold.projections.words import Document

COLUMNS: Final = ("name", "tags", "type")
NOTHING: Final = '""'  # a phrase without tokens; FTS5 refuses the empty expression
BORDER: Final = " ¶ "  # a token to FTS5 that no query can hold: it is not a-z or 0-9


def render(query: Query, columns: Sequence[str] = COLUMNS) -> str:
    """Return a MATCH expression that searches `columns`; it matches nothing if `query` is empty."""
    if not query.alternatives:
        return NOTHING
    return f"{{{' '.join(columns)}}} : ({' OR '.join(map(_conjunction, query.alternatives))})"


def row(document: Document) -> tuple[str, str, str]:
    """Return the values of the columns name, tags and type; a phrase never crosses two tags."""
    tags = BORDER.join(map(" ".join, document.tags))
    return " ".join(document.name), tags, " ".join(document.type)


def _conjunction(terms: tuple[Term, ...]) -> str:
    wanted = " AND ".join(_phrase(term) for term in terms if not term.negated)
    unwanted = " OR ".join(_phrase(term) for term in terms if term.negated)
    return f"(({wanted}) NOT ({unwanted}))" if unwanted else f"({wanted})"


def _phrase(term: Term) -> str:
    exact = f'"{" ".join(term.words)}"'
    if not term.start:
        return exact
    return f'({exact} OR "{" ".join([*term.words[:-1], term.start])}"*)'
