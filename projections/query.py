"""A query, as a person types it into a search box: words, "phrases", -not, or, prefix*.

Every text is a query: what cannot be understood is skipped, and what is left empty finds
nothing. The engines render what `parse` returns; they never see what was typed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from refold.projections.words import ALL_FIELDS, start_of_last, words

MOST_TERMS: Final = 64
MOST_WORDS: Final = 64  # of one term; a longer phrase is sought by its beginning


class Phrase(NamedTuple):
    """Tokens in a row, as they are indexed; with a `start`, that may stand for the last one's."""

    words: tuple[str, ...]
    start: str | None


@dataclass(frozen=True, slots=True)
class Term:
    """One thing to look for: a word, or several in a row within one field or tag.

    With a `start`, the last word may also be any that begins so: what is stored are stems, and
    `library*` has to find `librari`.
    """

    words: tuple[str, ...]
    start: str | None = None
    negated: bool = False

    def phrases(self, fields: str) -> list[Phrase]:
        """Return what to look for in `fields`; what is not wanted is not wanted anywhere."""
        return [
            Phrase(tuple(field + word for word in self.words), self.start and field + self.start)
            for field in (ALL_FIELDS if self.negated else fields)
        ]


@dataclass(frozen=True, slots=True)
class Query:
    """Alternatives, of which one has to fit; one fits if all of its terms do.

    Each alternative has a term that is not negated. Without alternatives nothing is found.
    """

    alternatives: tuple[tuple[Term, ...], ...] = ()


def parse(text: str) -> Query:
    """Return the query in `text`: `or` parts alternatives, everything else is a term.

    A word that is several tokens (libgo-12) is a phrase. Within quotes nothing is an operator;
    a missing quote is at the end. Only the first 64 terms are used. Never raises.
    """
    alternatives: list[list[Term]] = [[]]
    for term in _terms(text):
        if term is None:
            alternatives.append([])
        else:
            alternatives[-1].append(term)
    return Query(tuple(tuple(terms) for terms in alternatives if _can_match(terms)))


def _can_match(terms: list[Term]) -> bool:
    return not all(term.negated for term in terms)


def _terms(text: str) -> Iterator[Term | None]:
    """Yield the terms, and None for each `or`."""
    room = MOST_TERMS
    for piece in _PIECE.finditer(text):
        if piece["or"]:
            yield None
        elif term := _term(piece):
            yield term
            room -= 1
        if not room:
            return


_PIECE: Final = re.compile(
    r"""
      (?P<or> (?<!\S) (?i:or) (?!\S) )
    | (?P<minus> -* ) (?: "(?P<phrase> [^"]* )"? (?P<star> \*? ) | (?P<word> [^\s"]+ ) )
    """,
    re.VERBOSE,
)


def _term(piece: re.Match[str]) -> Term | None:
    text = piece["word"] or piece["phrase"] or ""
    found = words(text)
    if not found:
        return None
    open_ended = bool(piece["star"]) or (piece["word"] or "").endswith("*")
    start = start_of_last(text) if open_ended and len(found) <= MOST_WORDS else None
    return Term(tuple(found[:MOST_WORDS]), start, negated=bool(piece["minus"]))
