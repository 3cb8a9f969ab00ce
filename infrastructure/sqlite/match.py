"""Search in FTS5's own words: queries as MATCH expressions, documents as texts.

For a table made by `create`. Beside the words it has their pairs, each as one token: two words in a
row are looked up at once, however common each of them is. Each token is quoted, so that none is
taken for an operator such as NEAR; words hold a-z and 0-9 only, so nothing is escaped. What begins
as words do is looked for among words alone: pairs begin with a sign of their own.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from refold.projections.query import Phrase, Query, Term
from refold.projections.words import Document

NOTHING: Final = '""'  # a phrase without tokens; FTS5 refuses the empty expression
BORDER: Final = " ¶ "  # a token to FTS5 that is in no word and no pair, and so in no query
PAIR: Final = "·"  # begins a pair, and parts its words; to FTS5 it is a letter, too


def create(name: str) -> str:
    """Return the statement that creates a table of that name for `texts`.

    What begins with one to three letters, behind that of the field, is looked up as a word is.
    """
    return f"CREATE VIRTUAL TABLE {name} USING fts5(words, pairs, tokenize='ascii', prefix='2 3 4')"


def render(query: Query, fields: str) -> str:
    """Return a MATCH expression that searches `fields`; it matches nothing if `query` is empty."""
    if not query.alternatives:
        return NOTHING
    return " OR ".join(_conjunction(terms, fields) for terms in query.alternatives)


def texts(document: Document) -> tuple[str, str]:
    """Return what is indexed, words and pairs; a phrase never crosses two runs."""
    runs = [*document.runs()]
    pairs = BORDER.join(" ".join(_pairs(run)) for run in runs if len(run) > 1)
    return " ".join(map(" ".join, runs)), pairs


def _pairs(words: Sequence[str]) -> list[str]:
    return [PAIR + first + PAIR + second for first, second in pairwise(words)]


def _conjunction(terms: tuple[Term, ...], fields: str) -> str:
    wanted = " AND ".join(_term(term, fields) for term in terms if not term.negated)
    unwanted = " OR ".join(_term(term, fields) for term in terms if term.negated)
    return f"(({wanted}) NOT ({unwanted}))" if unwanted else f"({wanted})"


def _term(term: Term, fields: str) -> str:
    return f"({' OR '.join(map(_phrase, term.phrases(fields)))})"


def _phrase(phrase: Phrase) -> str:
    exact = _quoted(phrase.words)
    if not phrase.start:
        return exact
    return f"{exact} OR {_quoted((*phrase.words[:-1], phrase.start))}*"


def _quoted(words: Sequence[str]) -> str:
    return f'"{" ".join(_pairs(words) or words)}"'
