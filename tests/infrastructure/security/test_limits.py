"""What is too large is refused by name, with the value and the limit, on every engine."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from refold.domain import file
from refold.domain.errors import Refused
from refold.domain.positions import Positions
from refold.domain.texts import IllFormedText
from refold.infrastructure.codec import Metadata, NotStorable, decode_metadata, encode_metadata
from refold.infrastructure.commands import run
from refold.infrastructure.legacy.pinshare.importing import import_pinshare
from refold.infrastructure.limits import PageTooLarge, PayloadTooLarge, QueryTooLong
from refold.infrastructure.open import open_store
from refold.infrastructure.services.files import list_files, search
from refold.infrastructure.services.pushes import list_pushes
from refold.infrastructure.store import Store
from refold.tests.infrastructure.security.conftest import CID, SHA, do

MIB: Final = 1 << 20


# --- events -------------------------------------------------------------------------------


def test_an_event_may_have_a_mebibyte(store: Store) -> None:
    with pytest.raises(PayloadTooLarge) as refused:
        do(store, "repo.register", id="r", document=repository(MIB))
    size = refused.value.size

    assert str(refused.value) == (
        f"an event repo.registered of {size} bytes is larger than the limit of {MIB}"
    )
    assert store.advance.head() == Positions((0,))

    do(store, "repo.register", id="r", document=repository(2 * MIB - size))
    assert store.advance.head() == Positions((1,))
    store.folder.catch_up()
    with pytest.raises(PayloadTooLarge, match=f"of {MIB + 1} bytes"):
        do(store, "repo.register", id="s", document=repository(2 * MIB - size + 1, "s"))


def repository(size: int, name: str = "r") -> dict[str, Any]:
    url = f"https://example.org/o/{name}.git"
    return {"project": "p", "name": name, "url": url, "notes": "x" * size}


def test_metadata_counts(store: Store) -> None:
    metadata = encode_metadata(Metadata("ada", "x" * MIB))

    with pytest.raises(PayloadTooLarge, match=r"an event file\.registered of \d{7} bytes"):
        store.codec.encode(file.Registered(SHA, CID, "a.pdf", "pdf"), metadata)


def test_another_limit_can_be_set(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_PAYLOAD_BYTES", "300")
    with open_store(url, create=True) as store:
        do(store, "file.register", sha256=SHA, cid=CID)
        with pytest.raises(PayloadTooLarge, match="larger than the limit of 300"):
            do(store, "file.change", sha256=SHA, name="x" * 256)


@pytest.mark.parametrize("levels", [64, 65, 100_000])
def test_a_document_is_nested_at_most_64_levels(store: Store, levels: int) -> None:
    inner: Any = 0
    for _ in range(levels - 4):  # the others are the number, its list, the document, the event
        inner = [inner]
    document = repository(0) | {"deep": [inner]}

    if levels == 64:
        do(store, "repo.register", id="r", document=document)
        return
    with pytest.raises(NotStorable, match="nested deeper than 64 levels"):
        do(store, "repo.register", id="r", document=document)


# --- names --------------------------------------------------------------------------------

NAMED: Final = [
    ("file.register", "name", {"sha256": SHA, "cid": CID}),
    ("file.register", "type", {"sha256": SHA, "cid": CID}),
    ("file.register", "cid", {"sha256": SHA}),
    ("file.add_tag", "tag", {"sha256": SHA}),
    ("tag_vote.cast", "voter", {"sha256": SHA, "tag": "t", "stance": 1}),
    ("removal_vote.cast", "voter", {"sha256": SHA, "stance": 1}),
    ("user.register", "username", {"id": "u"}),
    ("user.register", "id", {"profile": {}}),
    ("repo.register", "id", {"document": repository(0)}),
    ("migration.record", "id", {}),
]


@pytest.mark.parametrize(("name", "field", "others"), NAMED, ids=[f"{n}.{f}" for n, f, _ in NAMED])
def test_a_name_has_1_to_256_characters_and_no_controls(
    store: Store, name: str, field: str, others: dict[str, Any]
) -> None:
    do(store, "file.register", sha256=SHA, cid=CID)

    def fields(text: str) -> dict[str, Any]:
        return others | ({"profile": {field: text}} if field == "username" else {field: text})

    for text, why in [
        ("x" * 257, "257 characters, not 1 to 256"),
        ("é" * 257, "257 characters, not 1 to 256"),
        *((f"a{c}b", "holds a control character") for c in "\t\n\x1b\x7f\x80\x9f"),
    ]:
        with pytest.raises(IllFormedText, match=why):
            do(store, name, **fields(text))
    do(store, name, **fields("é" * 256))


@pytest.mark.parametrize("command_id", ["", "x" * 257, "x" * 100_000, "a\nb"])
def test_a_command_id_is_like_a_name(store: Store, command_id: str) -> None:
    with pytest.raises(IllFormedText, match="command id"):
        run(store, "file.register", {"sha256": SHA, "cid": CID}, command_id=command_id, actor="a")

    longest = "é" * 256
    done = run(store, "file.register", {"sha256": SHA, "cid": CID}, command_id=longest, actor="a")
    assert done.position == 1


NO_ACTORS: Final = ["", "x" * 257, "a\nb", "a\0b", "\x9f", "\udcff"]


@pytest.mark.parametrize("actor", NO_ACTORS, ids=NO_ACTORS.index)
def test_who_asks_is_like_a_name(store: Store, actor: str) -> None:
    with pytest.raises(IllFormedText, match="actor"):
        run(store, "file.register", {"sha256": SHA, "cid": CID}, command_id="c", actor=actor)
    assert store.advance.head() == Positions((0,))

    longest = "é" * 256
    run(store, "file.register", {"sha256": SHA, "cid": CID}, command_id="c", actor=longest)
    assert decode_metadata(store.log.page(0, 0, 1)[0].metadata).actor == longest


@pytest.mark.parametrize("actor", NO_ACTORS, ids=NO_ACTORS.index)
def test_an_import_for_nobody_is_refused_as_a_whole(
    store: Store, tmp_path: Path, actor: str
) -> None:
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps({SHA: {"cid": CID}}))

    with pytest.raises(IllFormedText, match="actor"):
        import_pinshare(store, path, actor=actor)

    assert store.advance.head() == Positions((0,))


def test_an_actor_that_was_kept_before_is_read_as_it_is() -> None:
    assert decode_metadata(b'{"actor":""}') == Metadata("")


# --- queries ------------------------------------------------------------------------------


def test_a_query_has_at_most_1024_characters(store: Store) -> None:
    with pytest.raises(QueryTooLong, match="1025 characters is longer than the limit of 1024"):
        search(store, "x" * 1025)

    assert search(store, "x" * 1024).total == 0


@pytest.mark.parametrize(
    ("limit", "offset", "why"),
    [
        (10_001, 0, "a page of 10001 rows is not within the limit of 0 to 10000"),
        (-1, 0, "a page of -1 rows"),
        (2**70, 0, "a page of"),
        (1, -1, "no page begins behind -1 rows"),
        (1, 2**70, "no page begins behind"),
    ],
)
def test_a_page_has_at_most_10000_rows(store: Store, limit: int, offset: int, why: str) -> None:
    for ask in (
        lambda **page: search(store, "x", **page),
        lambda **page: list_files(store, **page),
        lambda **page: list_pushes(store, {}, **page),
    ):
        with pytest.raises(PageTooLarge, match=why):
            ask(limit=limit, offset=offset)
        ask(limit=10_000, offset=2**63 - 1)


# --- legacy records -----------------------------------------------------------------------


def test_a_legacy_record_that_is_too_large_is_refused_with_its_line(
    store: Store, tmp_path: Path
) -> None:
    pages = Path(__file__).parents[2] / "data" / "pinshare" / "metadata.v0.1.1.json"
    known = json.loads(pages.read_text())
    record = next(iter(known.values()))
    path = tmp_path / "metadata.json"
    large = record | {"fileSHA256": SHA, "notes": ["x" * 1_000] * 1_100}
    path.write_text(json.dumps(known | {SHA: large}, indent=1))

    report = import_pinshare(store, path)

    [refused] = report.refused
    assert report.imported == len(known)
    assert (refused.key, refused.file) == (SHA, path.name)
    assert path.read_text().splitlines()[refused.line - 1].strip().startswith(f'"{SHA}"')
    assert "is larger than the limit of 1048576" in refused.reason


def test_what_a_refusal_says_is_one_sentence_without_the_content() -> None:
    error = PayloadTooLarge("user.registered", 2, 1)

    assert isinstance(error, Refused)
    assert str(error) == "an event user.registered of 2 bytes is larger than the limit of 1"
