"""PostgreSQL and SQLite find the same files, whatever is typed, and it is what was meant."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from random import Random

import psycopg
import pytest

from refold.infrastructure.postgres import tsquery
from refold.infrastructure.sqlite import match
from refold.projections import files
from refold.projections.query import MOST_TERMS, MOST_WORDS, Query, Term, parse
from refold.projections.words import Document, document

NAMES = [
    "libgo-12-dev-powerpc-cross_12.2.0-13cross1_all.deb",
    "libgo12_12.2.0-14_amd64.deb",
    "python3-hypothesis_6.67.1-1_all.deb",
    "linux-image-6.1.0-18-amd64_6.1.76-1_amd64.deb",
    "HTMLParser.java",
    "html_parser_test.go",
    "IMG_2024-05-01 Überfahrt nach Çeşme.JPEG",
    "Étude n°5 (brouillon).pdf",
    "日本語の文書.txt",
    "Running Generalizations ﬁnal v2.docx",
    "not or and near.txt",
    "odd\0name\ud800.bin",
    "🎉🎉 party ¶ 2024.mov",
    "",
]
TYPES = ["application/vnd.debian.binary-package", "text/plain", "image/jpeg", "", "a"]
WORDS = ["a", "b", "c", "ab", "abc", "ba", "x", "é", "xc3a9", "aB", "run", "running", "1", "a1"]
TYPED = [*WORDS, *WORDS, *WORDS, *NAMES, *TYPES, "libgo", "12", "deb", "html", "or", "NOT", "name"]
OPERATORS = [*[" "] * 8, '"', '"', "*", "* ", " -", ' -"', " or ", " OR ", "-", " NEAR(", "name:"]
SIGNS = [*"|&!():<>^\\~+{}[]'%_.,;$@#=?/\t", "\0", "\ud800", "\udfff", "¶", "日", "ß", "\u0308"]

FIELDS = ("nty", "n", "nt")

Hits = dict[str, set[int]]
Engine = Callable[[Query], Hits]


@pytest.mark.parametrize("indexed", [True, False], ids=["index", "no index"])
def test_both_engines_find_what_was_meant(postgres_url: str, indexed: bool) -> None:
    random = Random(f"search {indexed}")  # noqa: S311
    documents = [some_document(random) for _ in range(150)]
    typed = [some_typing(random) for _ in range(1_500)]

    with postgresql(postgres_url, documents, indexed) as in_postgres, fts5(documents) as in_sqlite:
        selective = [
            text
            for text in typed
            if 0 < agreed(text, documents, in_postgres, in_sqlite) < len(documents)
        ]

    assert len(selective) > len(typed) // 3  # or the agreement says little


def test_both_engines_take_the_largest_documents_and_queries(postgres_url: str) -> None:
    numbered = " ".join(f"{n:064}" for n in range(20_000))
    same = "same " * 20_000
    documents = [
        document(numbered, [numbered], numbered),
        document(numbered, numbered.split(), numbered),
        document(same, [same], same),
        document(same, same.split(), same),
        document("", ["same " * 260, "same last"], ""),  # PostgreSQL keeps 255 positions
        document("é" * 20_000, ["é" * 20_000], "\0" * 20_000),
        document("", [], ""),
    ]
    longest = "-".join(numbered.split()[:MOST_WORDS])
    expected = {
        numbered: 2,
        numbered.replace(" ", "-"): 2,
        f'"{numbered}"*': 2,
        f"{longest} " * (MOST_TERMS + 1): 2,
        same + " -x" * 20_000: 3,
        "same" + " -x" * 20_000: 3,
        "same" + " -x or same" * 20_000: 3,
        " or ".join(numbered.split()): 2,
        '"same same"* -0': 3,
        "same-" * 20_000: 3,
        '"same last"': 0,
        "last": 1,
        "0*": 2,
        f"{249:064}-{250:064}": 1,  # within one tag, but neither in the name nor across tags
        f"{9_999:064}": 1,
        f"{10_000:064}": 0,
        "é" * 20_000 + "*": 1,
        '"' * 20_000: 0,
        "-" * 20_000: 0,
    }

    with postgresql(postgres_url, documents, True) as in_postgres, fts5(documents) as in_sqlite:
        found = {text: agreed(text, documents, in_postgres, in_sqlite) for text in expected}

    assert found == expected


def test_a_phrase_is_words_in_a_row_of_one_name_or_tag(postgres_url: str) -> None:
    documents = [
        document("", ["annual budget", "budget plan"], ""),
        document("annual budget plan", [], ""),
        document("annual budget budget plan", [], ""),
        document("annualnbudget plan", [], ""),
    ]
    expected = {
        '"annual budget plan"': 1,
        '"annual budget pl"*': 1,
        '"annual budget"': 3,
        '"annual bud"*': 3,
        '"budget plan"': 3,
        '-"budget plan" plan': 1,
    }

    with postgresql(postgres_url, documents, True) as in_postgres, fts5(documents) as in_sqlite:
        found = {text: agreed(text, documents, in_postgres, in_sqlite) for text in expected}

    assert found == expected


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("record*", '(("nrecord" OR "nrecord0" OR "nrecording9"))'),
        ('"the record"*', '(("·nthe·nrecord" OR "·nthe·nrecord0"))'),
        ('"of the record"*', '(("·nof·nthe ·nthe·nrecord" OR "·nof·nthe ·nthe·nrecord0"))'),
        ("libraries*", '(("nlibrari"))'),
        ("12345*", '(("n12345" OR "n12345"*))'),  # ten of them
        ("rec*", '(("nrec" OR "nrec"*))'),  # looked up as it is
    ],
)
def test_few_words_that_begin_so_are_asked_for_one_by_one(typed: str, expected: str) -> None:
    """What is found is the same either way, as other tests see: only what it costs is not."""
    numbers = " ".join(f"12345{n}" for n in range(10))
    documents = [
        document("The Record.txt", [], ""),
        document("recording9 of the record0", [], ""),
        document(numbers, [], ""),
    ]

    with indexed_by_fts5(documents) as cursor:
        rendered = match.render(parse(typed), "n", match.tokens(cursor, "d"))

    assert rendered == expected


def test_what_is_indexed_is_of_this_version() -> None:
    indexed = document("HTML_Parsers x86.java", ["The law", "music"], "text/Plain")

    written = (
        files.VERSION,
        tsquery.vector(indexed, 200_000_000),
        match.create("d"),
        match.texts(indexed),
    )

    assert written == (
        5,
        (
            "'11-nhtml':1 '11-nparser':2 '11-nx86':3 '11-njava':4 '11-tthe':6 '11-tlaw':7"
            " '11-tmusic':9 '11-ytext':11 '11-yplain':12"
        ),
        "CREATE VIRTUAL TABLE d USING fts5(words, pairs, tokenize='ascii', prefix='2 3 4')",
        (
            "nhtml nparser nx86 njava tthe tlaw tmusic ytext yplain",
            "·nhtml·nparser ·nparser·nx86 ·nx86·njava ¶ ·tthe·tlaw ¶ ·ytext·yplain",
        ),
    ), "bump VERSION of files: what is stored is not written so"


# --- documents and queries ----------------------------------------------------------


def some_document(random: Random) -> Document:
    name = random.choice(NAMES) if random.random() < 0.3 else some_words(random, 6)
    tags = [some_words(random, 3) for _ in range(random.randrange(4))]
    return document(name, tags, random.choice(TYPES))


def some_words(random: Random, most: int) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(0, most)))


def some_typing(random: Random) -> str:
    pieces = []
    for _ in range(random.randint(1, 6)):
        pieces += random.choices([TYPED, SIGNS], weights=[9, 1])
        pieces += random.choices([OPERATORS, SIGNS], weights=[9, 1])
    return "".join(random.choice(piece) for piece in pieces)


# --- engines ------------------------------------------------------------------------


def agreed(text: str, documents: Sequence[Document], *engines: Engine) -> int:
    """Return how many documents are found for `text`, by each engine the same as are meant."""
    query = parse(text)
    expected = meant(query, documents)
    for engine in engines:
        assert engine(query) == expected, text
    return len(expected["nty"])


def meant(query: Query, documents: Sequence[Document]) -> Hits:
    return {
        fields: {
            number
            for number, one in enumerate(documents)
            if any(fits(terms, one, fields) for terms in query.alternatives)
        }
        for fields in FIELDS
    }


def fits(terms: Sequence[Term], one: Document, fields: str) -> bool:
    wanted, anywhere = written(one, fields), written(one, "nty")
    return all(
        term.negated != any(text in (anywhere if term.negated else wanted) for text in sought(term))
        for term in terms
    )


def sought(term: Term) -> list[str]:
    exact = f" {' '.join(term.words)} "
    return [exact, f" {' '.join([*term.words[:-1], term.start])}"] if term.start else [exact]


def written(one: Document, fields: str) -> str:
    runs = {"n": [one.name], "t": one.tags, "y": [one.type]}
    return "".join(f" {' '.join(run)} \n" for field in fields for run in runs[field])


@contextmanager
def fts5(documents: Sequence[Document]) -> Iterator[Engine]:
    with indexed_by_fts5(documents) as cursor:
        begun = match.tokens(cursor, "d")

        def hits(expression: str) -> set[int]:
            rows = cursor.execute("SELECT -1 - rowid FROM d WHERE d MATCH ?", (expression,))
            return {number for (number,) in rows}

        def found(query: Query, fields: str) -> set[int]:
            one_by_one = hits(match.render(query, fields, begun))
            assert one_by_one == hits(match.render(query, fields, lambda _: None))
            return one_by_one

        yield lambda query: {fields: found(query, fields) for fields in FIELDS}


@contextmanager
def indexed_by_fts5(documents: Sequence[Document]) -> Iterator[sqlite3.Cursor]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute(match.create("d"))
        for number, one in enumerate(documents):
            values = (-1 - number, *match.texts(one))
            connection.execute("INSERT INTO d(rowid, words, pairs) VALUES (?, ?, ?)", values)
        yield connection.cursor()


@contextmanager
def postgresql(url: str, documents: Sequence[Document], indexed: bool) -> Iterator[Engine]:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TEMPORARY TABLE d (number int, words tsvector)")
        blocks = range(9, 12)  # of one digit and of two
        places = [blocks[n % 3] << tsquery.BITS_OF_BLOCK for n in range(len(documents))]
        for number, (one, place) in enumerate(zip(documents, places, strict=True)):
            values = (number, tsquery.vector(one, place))
            connection.execute("INSERT INTO d VALUES (%s, %s::tsvector)", values)
        if indexed:
            connection.execute("CREATE INDEX ON d USING gin (words)")
            connection.execute("SET enable_seqscan = off")

        def hits(text: str) -> set[int]:
            found = "SELECT number FROM d WHERE words @@ %s::tsquery"
            return {
                number
                for block in blocks
                for (number,) in connection.execute(
                    found, (text.replace(tsquery.BLOCK, str(block)),), prepare=True
                )
            }

        yield lambda query: {fields: hits(tsquery.render(query, fields)) for fields in FIELDS}
