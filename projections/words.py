"""Words: how the text of a file becomes the tokens that search looks up.

They are made here, once, for every engine, and hold nothing but a-z and 0-9, so that no engine
has an opinion of its own about what a word is, and none can take one for an operator.
A change that yields other tokens is a new VERSION of the projections that index them, and so
is another version of the stemmer.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import pairwise
from threading import local
from typing import Final, NamedTuple

import Stemmer

LONGEST: Final = 64  # characters of a token

# PostgreSQL keeps 255 positions of one lexeme and none above 16 383. A border between two tags
# takes a position as well: 250 + 10 000 + 6 000 + 50 and two borders between fields fit.
MOST_IN_NAME: Final = 250
MOST_IN_TYPE: Final = 50
MOST_IN_TAGS: Final = 10_000
MOST_TAGS: Final = 6_000
MOST_REPEATS: Final = 250

NAME: Final = "n"
TAGS: Final = "t"
TYPE: Final = "y"
ALL_FIELDS: Final = NAME + TAGS + TYPE
"""Letters of fields. Each token is indexed behind that of its field, so no engine filters them."""


class Document(NamedTuple):
    """The tokens of one file, field by field, within what every engine can index."""

    name: tuple[str, ...]
    tags: tuple[tuple[str, ...], ...]
    type: tuple[str, ...]

    def runs(self) -> Iterator[list[str]]:
        """Yield what is indexed: a phrase is found within one run, and never across two."""
        for field, run in (
            (NAME, self.name),
            *((TAGS, tag) for tag in self.tags),
            (TYPE, self.type),
        ):
            yield [field + word for word in run]


def document(name: str, tags: Iterable[str], type: str) -> Document:
    """Return what is indexed of a file; what exceeds the limits above is left out."""
    fields = [(*words(name)[:MOST_IN_NAME],), _label(type)[:MOST_IN_TYPE], *_tags(tags)]
    if sum(map(len, fields)) > MOST_REPEATS:
        fields = _without_excess_repeats(fields)
    in_name, in_type, *in_tags = fields
    return Document(in_name, tuple(filter(None, in_tags)), in_type)


def words(text: str) -> list[str]:
    """Return the tokens of `text` in order: folded, stemmed, at most 64 characters of a-z0-9."""
    return [*map(_stemmed, _split(text))]


@lru_cache(maxsize=4_096)
def _label(text: str) -> tuple[str, ...]:
    """Return the tokens of a tag or a type, which many files share."""
    return (*words(text),)


def start_of_last(text: str) -> str:
    """Return the last word of `text`, folded but not stemmed: what it starts may go on."""
    return _spelled_in_ascii((_split(text) or [""])[-1])


def _split(text: str) -> list[str]:
    if not text.isascii():
        return _split_unicode(unicodedata.normalize("NFKC", text))
    if not text.islower():
        text = _BORDER.sub(" ", text).lower()
    return _WORD.findall(text)


def _split_unicode(text: str) -> list[str]:
    cases = "".join("A" if c.isupper() else "a" if c.islower() else " " for c in text)
    borders = [0, *(border.start() for border in _BORDER.finditer(cases)), len(text)]
    apart = " ".join(text[start:end] for start, end in pairwise(borders))
    return [word.casefold() for word in _WORD.findall(apart)]


# fooBar is foo and Bar, HTMLParser is HTML and Parser; a digit never makes a border.
_BORDER: Final = re.compile("(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# A stem differs from its word at the end only; what is cut off here would not survive LONGEST.
_WORD: Final = re.compile(r"([^\W_]{1,128})[^\W_]*")

_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")


@lru_cache(maxsize=8_192)  # words, that is; numbers come once
def _stemmed(word: str) -> str:
    return _spelled_in_ascii(_OWN.stemmer.stemWord(word))


class _OfThread(local):
    """A stemmer must not be shared between threads; a lock, or a new one, costs twice the stem."""

    def __init__(self) -> None:
        self.stemmer = Stemmer.Stemmer("english", 0)


_OWN: Final = _OfThread()


def _spelled_in_ascii(word: str) -> str:
    if not word.isascii():
        word = _NOT_ASCII.sub(lambda found: "x" + found[0].encode().hex(), word)
    return word[:LONGEST]


def _tags(tags: Iterable[str]) -> Iterator[tuple[str, ...]]:
    room = MOST_IN_TAGS
    borders = MOST_TAGS
    for tag in tags:
        if not room or not borders:
            return
        if found := _label(tag)[:room]:
            yield found
            room -= len(found)
            borders -= 1


def _without_excess_repeats(fields: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    seen: Counter[str] = Counter()

    def has_room(word: str) -> bool:
        seen[word] += 1
        return seen[word] <= MOST_REPEATS

    return [(*filter(has_room, field),) for field in fields]
