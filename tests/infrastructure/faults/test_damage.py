"""Bytes on the disk of a store change: it is refused by name, never by a driver's error."""

import shutil
from collections.abc import Callable
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final

import psycopg
import pytest

from refold.infrastructure import chain
from refold.infrastructure.open import open_store
from refold.infrastructure.postgres.cluster import throwaway
from refold.tests.infrastructure.faults.events import many
from refold.tests.infrastructure.faults.lengths import LONG
from refold.tests.infrastructure.faults.processes import Finished, refold

PAGE: Final = 4_096
PAGES: Final = 3
"""About how many pages of each file are tried; in the long form, all."""

Record = Callable[[str, object], None]


@pytest.fixture
def original(tmp_path: Path) -> Path:
    """The file of a store that is sealed, and whose tables are folded."""
    path = tmp_path / "original.db"
    with open_store(f"sqlite:///{path}", create=True) as store:
        store.log.append(list(islice(many(chain.GRID + 10), None)))
    assert refold("verify", f"sqlite:///{path}").code == 0
    return path


def test_a_byte_flipped_in_the_file_is_found_with_its_block(
    original: Path, tmp_path: Path, record_property: Record
) -> None:
    assert refold("copy", f"sqlite:///{original}", f"sqlite:///{tmp_path / 'copy.db'}").code == 0
    data = bytearray(original.read_bytes())
    data[data.index(b"holiday 00000200") + 3] ^= 1
    original.write_bytes(data)

    verified = refold("verify", f"sqlite:///{original}", "--json")
    copied = refold("copy", f"sqlite:///{original}", f"sqlite:///{tmp_path / 'copy.db'}")

    block = verified.document["bad_block"]
    assert verified.code == 3
    assert (block["first"], block["last"]) == (1, chain.GRID)
    assert copied.code == 1
    assert f"between positions 1 and {chain.GRID}" in copied.stderr
    record_property("byte flipped in a file", 1)


@pytest.mark.parametrize(
    ("suffix", "said"), [("", "cannot be used: SQLITE_"), ("-tables", "are damaged: SQLITE_")]
)
def test_a_page_of_garbage_is_refused_in_a_sentence(
    original: Path, tmp_path: Path, record_property: Record, suffix: str, said: str
) -> None:
    size = Path(f"{original}{suffix}").stat().st_size // PAGE
    pages = range(0, size, 1 if LONG else size // PAGES)
    refused = 0
    for page in pages:
        for number, ask in enumerate(ASKED):
            copy = tmp_path / "copies" / f"{page}-{number}" / "store.db"
            _copied(original, copy)
            _spoil(Path(f"{copy}{suffix}"), page)

            answer = ask(f"sqlite:///{copy}")  # an error of the driver would come out here

            if answer.code == 4:
                assert answer.stderr.count("\n") == 1
                assert f"store.db{suffix} {said}" in answer.stderr
                refused += 1
            else:
                assert (answer.code, answer.stderr) == (0, ""), answer
            shutil.rmtree(copy.parent)

    record_property("page overwritten with garbage", len(pages))
    assert refused >= len(pages)


def test_garbage_in_the_tables_is_mended_by_folding_them_again(
    original: Path, record_property: Record
) -> None:
    before = refold("verify", f"sqlite:///{original}", "--json").document["tables"]
    tables = Path(f"{original}-tables")
    _spoil(tables, 0)
    assert refold("status", "--store", f"sqlite:///{original}").code == 4

    tables.unlink()
    after = refold("verify", f"sqlite:///{original}", "--json")

    assert (after.code, after.document["tables"]) == (0, before)
    record_property("page overwritten with garbage", 1)


def test_a_page_of_garbage_in_postgresql_is_refused_in_a_sentence(record_property: Record) -> None:
    with throwaway() as cluster:
        with open_store(cluster.url, create=True) as store:
            store.log.append(list(islice(many(10), None)))
        with psycopg.connect(cluster.url) as session:
            query = "SELECT pg_relation_filepath('refold.events')"
            [(path,)] = session.execute(query).fetchall()
        cluster.stop()
        _spoil(cluster.home / "data" / str(path), 0)
        cluster.start()

        answers = [
            refold("verify", cluster.url),
            refold("status", "--store", cluster.url),
            refold("search", "holiday", "--store", cluster.url),
        ]

    for answer in answers:
        assert answer.code == 4
        assert answer.stderr.splitlines()[-1].endswith("cannot be used: SQLSTATE XX001")
    record_property("page overwritten with garbage", 1)


# --- what is asked of a store that is damaged -------------------------------------------


def _import(url: str) -> Finished:
    path = Path(__file__).parents[3] / "scripts" / "demo-data" / "metadata.small.json"
    return refold("import", "pinshare", path, "--store", url, "--json")


ASKED: Final[list[Callable[[str], Finished]]] = [
    lambda url: refold("verify", url),
    lambda url: refold("status", "--store", url),
    lambda url: refold("search", "holiday", "--store", url),
    lambda url: refold("rebuild", "--store", url),
    lambda url: refold("init", "--store", url),
    _import,
]


def _copied(original: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True)
    for suffix in "", "-tables":
        shutil.copy(f"{original}{suffix}", f"{copy}{suffix}")


def _spoil(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(sha256(b"%d" % page).digest() * (PAGE // 32))
