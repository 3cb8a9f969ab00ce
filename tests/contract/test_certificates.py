"""A certificate is kept as a file, can be signed, and is checked against the store later."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from refold.domain.errors import BadInput, Refused
from refold.domain.positions import Positions
from refold.infrastructure.moving import keeping
from refold.infrastructure.moving.certificate import Certificate
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.cutover import move
from refold.infrastructure.store import Store
from refold.tests.contract.query_tables import forge, register, vote


@pytest.fixture
def moved(source: Store, target: Store) -> Certificate:
    vote(source, voters=3)
    return move(source, target)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A pair of PEM files: a private key and its public one."""
    private, public = tmp_path / "private.pem", tmp_path / "public.pem"
    key = Ed25519PrivateKey.generate()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def test_a_store_is_still_what_its_certificate_says_when_it_has_gone_on(
    moved: Certificate,
    target: Store,
    tmp_path: Path,
) -> None:
    keeping.write(tmp_path / "certificate.json", moved)
    before = keeping.check(target, keeping.read(tmp_path / "certificate.json"))
    register(target, "later")
    target.folder.catch_up()

    after = keeping.check(target, keeping.read(tmp_path / "certificate.json"))

    assert (before, after) == ([], [])
    assert not list(tmp_path.glob("*.part"))


def test_rows_that_were_compared_behind_the_whole_tables_do_not_matter(
    source: Store,
    target: Store,
    tmp_path: Path,
) -> None:
    late = [True]

    def progress(what: str, done: int, total: int | None) -> None:
        if what == "fold" and late:
            late.pop()
            register(source, "late")

    made = move(source, target, progress)

    assert (made.tables_at, made.positions) == (Positions((2,)), Positions((3,)))
    assert keeping.check(target, made.document()) == []


@pytest.mark.parametrize(
    ("forged", "said"),
    [
        ({"log_id": "x"}, "the log is"),
        ({"types": {"file.registered": 1}}, "the numbers of events differ"),
    ],
    ids=["log", "types"],
)
def test_what_a_certificate_says_and_the_store_is_not_is_told(
    moved: Certificate,
    target: Store,
    forged: dict[str, Any],
    said: str,
) -> None:
    [difference] = keeping.check(target, moved.document() | forged)

    assert said in difference


def test_another_chain_digest_or_end_is_told(moved: Certificate, target: Store) -> None:
    document = moved.document()
    [partition], tables = document["partitions"], document["tables"]

    chain = keeping.check(target, document | {"partitions": [partition | {"chain": "00"}]})
    end = keeping.check(target, document | {"partitions": [partition | {"position": 999}]})
    table = keeping.check(
        target, document | {"tables": [tables[0] | {"digest": "00"}, *tables[1:]]}
    )

    assert chain == [f"the chain differs at position {moved.positions}"]
    assert end == [f"the log ends at position {moved.positions}, before 999"]
    assert table == [f"table {tables[0]['name']} differs at position {moved.tables_at}"]


def test_a_live_table_that_was_changed_by_hand_is_not_what_a_certificate_is_about(
    moved: Certificate,
    target: Store,
) -> None:
    forge(target, "file_counts_1", ("sha256", "one"), moderation_votes=99)

    assert keeping.check(target, moved.document()) == []  # drift and rebuild tell of that


def test_a_signed_certificate_is_read_with_the_public_key(
    moved: Certificate, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    path = tmp_path / "certificate.json"
    keeping.write(path, moved, keys[0])

    signed = keeping.read(path, keys[1])

    assert signed == keeping.read(path)
    assert signed.keys() - moved.document().keys() == {"signature"}


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: change(path, claims=7), "was not signed with the key"),
        (lambda path: change(path, signature="AAAA"), "was not signed with the key"),
        (lambda path: change(path, signature="ä"), "was not signed with the key"),
        (lambda path: change(path, signature=None), "is not signed"),
        (lambda path: change(path, partitions=[]), "is no certificate of refold"),
        (lambda path: path.write_text("[]"), "is no certificate of refold"),
        (lambda path: path.write_text("{"), "is no certificate of refold"),
        (lambda path: path.write_bytes(b"\xff"), "is no certificate of refold"),
        (lambda path: path.unlink(), "cannot be read: No such file"),
    ],
)
def test_what_is_not_the_certificate_that_was_signed_is_refused(
    moved: Certificate,
    keys: tuple[Path, Path],
    tmp_path: Path,
    spoil: Callable[[Path], object],
    said: str,
) -> None:
    path = tmp_path / "certificate.json"
    keeping.write(path, moved, keys[0])
    spoil(path)

    with pytest.raises(keeping.NoCertificate, match=said):
        keeping.read(path, keys[1])


def test_a_key_of_another_kind_is_refused(
    source: Store,
    target: Store,
    keys: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    made = copy(source, target)
    path = tmp_path / "certificate.json"

    with pytest.raises(BadInput, match="holds no Ed25519 private key"):
        keeping.write(path, made, keys[1])
    keeping.write(path, made, keys[0])
    with pytest.raises(BadInput, match="holds no Ed25519 public key"):
        keeping.read(path, keys[0])
    with pytest.raises(Refused, match="cannot be kept in"):
        keeping.write(tmp_path / "none" / "certificate.json", made)


def test_who_asks_whether_a_certificate_can_be_kept_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "certificate.json"
    keeping.check_place(path)
    assert list(tmp_path.iterdir()) == []

    path.write_text('{"log_id": "x"}')
    keeping.check_place(path)
    assert [each.read_text() for each in tmp_path.iterdir()] == ['{"log_id": "x"}']


@pytest.mark.parametrize("text", ["[storage]", "{}", "[]", "7", "[" * 100_000, "\0"])
def test_what_is_no_certificate_is_not_written_over(tmp_path: Path, text: str) -> None:
    path = tmp_path / "certificate.json"
    path.write_text(text)

    with pytest.raises(BadInput, match="what is there is no certificate"):
        keeping.check_place(path)
    with pytest.raises(keeping.NoCertificate, match="is no certificate of refold"):
        keeping.read(path)

    assert path.read_text() == text


def test_no_more_is_read_of_a_certificate_than_one_can_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "MOST_BYTES", 1 << 20)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write() -> None:
        with pipe.open("wb") as file:
            file.write(bytes(1 << 22))

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        with pytest.raises(keeping.NoCertificate, match="is no certificate of refold"):
            keeping.read(pipe)
        with pytest.raises(BrokenPipeError):
            writing.result()
