"""What a search promises, whichever engine keeps the tables: the same hits in the same order."""

import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext
from random import Random

import psycopg
import pytest
from sqlalchemy.event import listens_for

from refold.domain import file, streams
from refold.domain.ports import Appended, Command, Write
from refold.infrastructure.address import Memory
from refold.infrastructure.codec import Metadata, encode_metadata
from refold.infrastructure.folding.generations import PREVIOUS
from refold.infrastructure.folding.rows import Hits
from refold.infrastructure.open import open_at, open_store
from refold.infrastructure.postgres import tsquery
from refold.infrastructure.services.files import search
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.tests.addresses import in_schema

KINDS = {  # name, tags, type: the oldest first
    "1": ("notes.txt", (), "quantum"),
    "2": ("notes.txt", ("Quantum",), "pdf"),
    "3": ("quantum.txt", (), "pdf"),
    "4": ("plain", ("cooking", "quantum"), "pdf"),
    "5": ("The Quantum Library", (), "pdf"),
    "6": ("plain", (), "quantum"),
    "7": ("of libraries", ("cooking",), "quantum"),
    "8": ("library quantum field", ("physics",), "pdf"),
}


@pytest.fixture(autouse=True)
def blocks_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL searches block after block: here few files are several blocks."""
    monkeypatch.setattr(tsquery, "BITS_OF_BLOCK", 10)


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with files that are found by name, by tag and by type."""
    register(store, [(key, *fields) for key, fields in KINDS.items()])
    return store


# --- which, and in which order --------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("quantum", "85342761"),  # by name, by tag, by type
        ("quantum -cooking", "853261"),
        ("quantum -library", "34261"),
        ("-quantum", ""),
        ("cooking or physics", "874"),
        ("pdf or library -physics", "758432"),  # 8 has physics: it is found by its type
        ("notes OR field", "821"),
        ("notes or", "21"),
        ('"quantum library"', "5"),
        ('"library quantum"', "8"),
        ('quantum -"quantum field"', "5342761"),
        ('"notes quantum"', ""),  # not across fields
        ("notes quantum", "21"),
        ("quant*", "85342761"),
        ("library", "875"),
        ("library*", "875"),
        ("librar*", "875"),
        ('"the quantum libr"*', "5"),
        ("LIBRARIES", "875"),
        ("", ""),
        ("nothing", ""),
    ],
)  # fmt: skip
def test_hits_come_by_name_then_by_tag_then_by_type_and_newest_first(
    filled: Store, text: str, found: str
) -> None:
    hits = search(filled, text)

    assert keys(hits) == list(found)
    assert (hits.total, hits.more) == (len(found), False)


def test_a_hit_is_the_key_and_the_name_of_a_file(filled: Store) -> None:
    assert search(filled, "physics").rows == [("8", "library quantum field")]


def test_a_file_is_found_by_what_it_is_called_now(filled: Store) -> None:
    search(filled, "quantum")

    append(filled, [("3", file.Changed(name="sourdough")), ("4", file.TagRemoved("quantum", 1))])

    assert keys(search(filled, "quantum")) == list("852761")
    assert keys(search(filled, "sourdough")) == ["3"]


def test_a_search_goes_on_while_another_builds_the_tables_again(
    filled: Store,
) -> None:
    is_shared = not isinstance(filled.address, Memory)
    searched = [each for each in catalog.ALL if each.SEARCH]
    found = [keys(search(filled, "quantu*"))]

    with open_at(filled.address) if is_shared else nullcontext(filled) as other:
        for _ in range(2):
            other.rebuilder.rebuild(searched)
            found.append(keys(search(filled, "quantu*")))
            other.rebuilder.roll_back(searched)
            found.append(keys(search(filled, "quantu*")))
            other.rebuilder.drop(searched, PREVIOUS)
            found.append(keys(search(filled, "quantu*")))

    assert found == [list("85342761")] * 7


# --- how many --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "offset", "found"),
    [(20, 0, "85476"), (2, 0, "85"), (2, 3, "76"), (2, 4, "6"), (2, 5, ""), (20, 9**9, "")],
)
def test_beyond_the_most_that_is_counted_only_the_newest_are_told(
    filled: Store, monkeypatch: pytest.MonkeyPatch, limit: int, offset: int, found: str
) -> None:
    monkeypatch.setattr(Hits, "MOST", 5)

    hits = search(filled, "quantum", limit=limit, offset=offset)

    assert keys(hits) == list(found)
    assert (hits.total, hits.more) == (5, True)


@pytest.mark.parametrize(
    ("most", "found"),
    [(1, "8"), (2, "87"), (3, "876"), (4, "8576"), (6, "853476"), (7, "8534276")],
)
def test_it_is_the_newest_that_are_told(
    filled: Store, monkeypatch: pytest.MonkeyPatch, most: int, found: str
) -> None:
    monkeypatch.setattr(Hits, "MOST", most)

    hits = search(filled, "quantum")

    assert keys(hits) == list(found)
    assert (hits.total, hits.more) == (most, True)


@pytest.mark.parametrize(("most", "more"), [(7, True), (8, False), (9, False)])
def test_there_are_others_only_beyond_the_most(
    filled: Store, monkeypatch: pytest.MonkeyPatch, most: int, more: bool
) -> None:
    monkeypatch.setattr(Hits, "MOST", most)

    hits = search(filled, "quantum", limit=3)

    assert keys(hits) == list("853")
    assert (hits.total, hits.more) == (min(most, 8), more)


# --- whatever is typed -------------------------------------------------------------------


@pytest.fixture(scope="module")
def alike(shared_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Store]]:
    """The same files in SQLite, in PostgreSQL, and in one that reads no table without its index."""
    random = Random("files")  # noqa: S311
    files = [some_file(random, f"{n}") for n in range(40)]
    with ExitStack() as cleanup:
        stores = [
            cleanup.enter_context(open_store(url, create=True))
            for url in (
                f"sqlite:///{tmp_path_factory.mktemp('search') / 'store'}",
                in_schema(shared_database, f"t_{secrets.token_hex(6)}"),
                in_schema(shared_database, f"Order_{secrets.token_hex(6)}"),  # to be quoted
            )
        ]
        for store in stores:
            register(store, files)
            search(store, "", after="now")
        engine = stores[2].tables._engine
        engine.dispose()

        @listens_for(engine, "connect")
        def by_index(connection: psycopg.Connection, _: object) -> None:
            connection.execute("SET enable_seqscan TO off")
            connection.commit()

        yield stores


def test_whatever_is_typed_the_engines_find_the_same_in_the_same_order(
    alike: list[Store],
) -> None:
    random = Random("typed")  # noqa: S311
    selective = 0

    for _ in range(1_500):
        text = some_typing(random)
        limit, offset = random.choice([(100, 0), (100, 0), (3, 1)])
        one, *others = (
            search(each, text, after=None, limit=limit, offset=offset) for each in alike
        )

        assert [one, one] == others, text
        assert one.total >= len(one.rows)
        selective += 0 < one.total < 40

    assert selective > 500  # or the agreement says little


WORDS = ["a", "b", "ab", "abc", "run", "running", "library", "libraries", "1", "é", "日本", "aB"]
NAMES = ["HTMLParser.java", "libgo-12_12.2.0.deb", "odd\0name.bin", "not or near.txt", "🎉 x", ""]
OPERATORS = [*[" "] * 8, '"', "*", "* ", " -", ' -"', " or ", " OR ", " NEAR(", " AND ", "name:"]
SIGNS = [*"|&!():<>^\\~+{}[]'%_.,;$@#=?/\t\n-", "\0", "\ud800", "\udfff", "\u0308", "¶", "ß", "ﬁ"]


def some_file(random: Random, key: str) -> tuple[str, str, Iterable[str], str]:
    tags = {some_words(random, 2) or "x" for _ in range(random.randrange(4))}
    name = random.choice(NAMES) if random.random() < 0.3 else some_words(random, 5)
    return key, name, sorted(tags), some_words(random, 1)


def some_words(random: Random, most: int) -> str:
    return " ".join(random.choices(WORDS, k=random.randint(0, most)))


def some_typing(random: Random) -> str:
    pieces = []
    for _ in range(random.randint(1, 5)):
        pieces += random.choices([WORDS, NAMES, SIGNS], weights=[8, 1, 1])
        pieces += random.choices([OPERATORS, SIGNS], weights=[9, 1])
    return "".join(random.choice(piece) for piece in pieces)


# --- saying it briefly --------------------------------------------------------------------


def register(store: Store, files: Iterable[tuple[str, str, Iterable[str], str]]) -> None:
    events: list[tuple[str, object]] = []
    for key, name, tags, type in files:
        events.append((key, file.Registered(key, "cid", name, type)))
        events += [(key, file.TagAdded(tag, 1)) for tag in tags]
    append(store, events)


def append(store: Store, events: Iterable[tuple[str, object]]) -> None:
    metadata = encode_metadata(Metadata("ada"))
    outcomes = store.log.append(
        [
            Command(
                secrets.token_hex(8),
                (Write(streams.name("file", key), None, (store.codec.encode(value, metadata),)),),
            )
            for key, value in events
        ]
    )
    assert all(isinstance(outcome, Appended) for outcome in outcomes), outcomes


def keys(hits: Hits) -> list[str]:
    return [key for key, _ in hits.rows]
