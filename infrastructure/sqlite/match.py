"""Search in FTS5's own words: queries as MATCH expressions, documents as texts.

For a table made by `create`. Beside the words it has their pairs, each as one token: two words in a
row are looked up at once, however common each of them is. Each token is quoted, so that none is
taken for an operator such as NEAR; words hold a-z and 0-9 only, so nothing is escaped. What begins
as words do is looked for among words alone: pairs begin with a sign of their own.
"""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from sqlite3 import Cursor
from typing import Final

from refold.projections.query import Phrase, Query, Term
from refold.projections.words import Document

NOTHING: Final = '""'  # a phrase without tokens; FTS5 refuses the empty expression
BORDER: Final = " ¶ "  # a token to FTS5 that is in no word and no pair, and so in no query
PAIR: Final = "·"  # begins a pair, and parts its words; to FTS5 it is a letter, too

LONGEST_INDEXED: Final = 4
"""Characters of the longest beginnings that are looked up as words are: a field's, and three."""

MOST_BEGUN: Final = 8
"""Tokens that are asked for one by one where few begin so."""

Begun = Callable[[str], Sequence[str] | None]
"""Returns the tokens that begin so, None where they are too many to be asked for one by one."""


def create(name: str) -> str:
    """Return the statement that creates a table of that name for `texts`.

    Beginnings of up to `LONGEST_INDEXED` characters are looked up as words are.
    """
    lengths = " ".join(map(str, range(2, LONGEST_INDEXED + 1)))
    fields = f"words, pairs, tokenize='ascii', prefix='{lengths}'"
    return f"CREATE VIRTUAL TABLE {name} USING fts5({fields})"


def tokens(cursor: Cursor, name: str) -> Begun:
    """Return what looks tokens up in the table of that name, by one that the connection keeps.

    For a beginning, FTS5 gathers all places of all words that begin so before it tells the first.
    """
    table = f"temp.{name}_tokens"

    @cache
    def begun(start: str) -> Sequence[str] | None:
        cursor.execute(
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {table} USING fts5vocab(main, {name}, instance)"
        )
        found = cursor.execute(
            f"""
            WITH RECURSIVE found (token) AS (  -- nothing stands between a token and it with a 0
                SELECT (SELECT term FROM {table} WHERE term >= :start LIMIT 1)
                UNION ALL
                SELECT (SELECT term FROM {table} WHERE term >= token || '0' LIMIT 1) FROM found
                WHERE substr(token, 1, length(:start)) = :start
                LIMIT {MOST_BEGUN + 1}
            )
            SELECT token FROM found WHERE substr(token, 1, length(:start)) = :start
            """,
            {"start": start},
        ).fetchall()
        return None if len(found) > MOST_BEGUN else [token for (token,) in found]

    return begun


def render(query: Query, fields: str, begun: Begun) -> str:
    """Return a MATCH expression that searches `fields`; it matches nothing if `query` is empty."""
    if not query.alternatives:
        return NOTHING
    return " OR ".join(_conjunction(terms, fields, begun) for terms in query.alternatives)


def texts(document: Document) -> tuple[str, str]:
    """Return what is indexed, words and pairs; a phrase never crosses two runs."""
    runs = [*document.runs()]
    pairs = BORDER.join(" ".join(_pairs(run)) for run in runs if len(run) > 1)
    return " ".join(map(" ".join, runs)), pairs


def _pairs(words: Sequence[str]) -> list[str]:
    return [PAIR + first + PAIR + second for first, second in pairwise(words)]


def _conjunction(terms: tuple[Term, ...], fields: str, begun: Begun) -> str:
    wanted = " AND ".join(_term(term, fields, begun) for term in terms if not term.negated)
    unwanted = " OR ".join(_term(term, fields, begun) for term in terms if term.negated)
    return f"(({wanted}) NOT ({unwanted}))" if unwanted else f"({wanted})"


def _term(term: Term, fields: str, begun: Begun) -> str:
    return f"({' OR '.join(_phrase(phrase, begun) for phrase in term.phrases(fields))})"


def _phrase(phrase: Phrase, begun: Begun) -> str:
    exact = _quoted(_tokens(phrase.words))
    if not phrase.start:
        return exact
    *whole, start = _tokens((*phrase.words[:-1], phrase.start))
    found = begun(start) if len(start) > LONGEST_INDEXED else None
    if found is None:
        return f"{exact} OR {_quoted([*whole, start])}*"
    return " OR ".join(dict.fromkeys([exact, *(_quoted([*whole, each]) for each in found)]))


def _tokens(words: Sequence[str]) -> Sequence[str]:
    return _pairs(words) or words


def _quoted(tokens: Sequence[str]) -> str:
    return f'"{" ".join(tokens)}"'
