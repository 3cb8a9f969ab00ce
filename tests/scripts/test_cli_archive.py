"""An archive on the command line: made, verified, brought back, and refused by who takes none."""

import json
from pathlib import Path

import pytest

from refold.tests.scripts.conftest import Refold

SHA = "ab" * 32


@pytest.fixture(autouse=True)
def store(refold: Refold, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store with a file, a user and a push whose step is a blob."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    refold("init", "--store", "sqlite:///a.db")
    for name, fields in {
        "file.register": {"sha256": SHA, "cid": "bafy1", "name": "paper.pdf"},
        "user.register": {"id": "ada", "profile": {"username": "ada", "email": "a@b.org"}},
        "push.record": {"document": {"id": "a__b", "steps": [{"content": "x" * 9_000}]}},
    }.items():
        done = refold("command", name, "--store", "sqlite:///a.db", stdin=json.dumps(fields))
        assert done.code == 0, done.err


def test_a_store_goes_into_an_archive_and_comes_back(refold: Refold, tmp_path: Path) -> None:
    made = refold("copy", "sqlite:///a.db", "archive:b.zst", "--with-keys")
    verified = refold("verify", "archive:b.zst")
    compared = refold("verify", "archive:b.zst", "sqlite:///a.db")
    (tmp_path / "a.db-blobs").rename(tmp_path / "c.db-blobs")
    back = refold("copy", "archive:b.zst", "sqlite:///c.db")

    assert (made.code, made.out.splitlines()[-1]) == (0, "equal")
    assert "appended  3 events" in made.out
    assert "blobs     1 needed, not in the archive" in made.out
    assert (verified.code, verified.out.splitlines()[-1]) == (0, "ok")
    assert verified.out.startswith("log ")
    assert " up to position 3, chain " in verified.out
    assert (compared.code, compared.out.splitlines()[-1]) == (0, "equal")
    assert (back.code, back.out.splitlines()[-1]) == (0, "equal")
    assert "not compared" in back.out
    assert refold("verify", "sqlite:///c.db").code == 0
    kept = refold("verify", "sqlite:///c.db", "--certificate", "c.db-certificate.json")
    assert kept.code == 0, kept.out


def test_the_documents_say_what_is_in_an_archive(refold: Refold) -> None:
    made = refold("copy", "sqlite:///a.db", "archive:b.zst", "--json").json
    again = refold("copy", "sqlite:///a.db", "archive:b.zst", "--json").json
    verified = refold("verify", "archive:b.zst", "--json").json
    compared = refold("verify", "sqlite:///a.db", "archive:b.zst", "--json").json

    [blob] = made["blobs"]["needed"]
    assert (made["equal"], made["appended"], again["appended"]) == (True, 3, 0)
    assert (made["vault"], made["keys_left_out"]) == (None, 2)
    assert verified["partitions"] == made["partitions"] == again["partitions"]
    assert verified["types"] == {"file.registered": 1, "push.recorded": 1, "user.registered": 1}
    assert verified["blobs"] == {"count": 1, "needed": [blob]}
    assert (verified["ok"], verified["bad_block"], compared["ok"]) == (True, None, True)


def test_a_damaged_archive_is_named_by_its_block(refold: Refold, tmp_path: Path) -> None:
    refold("copy", "sqlite:///a.db", "archive:b.zst", "--with-keys")
    path = tmp_path / "b.zst"
    path.write_bytes(path.read_bytes()[:-3])

    shown = refold("verify", "archive:b.zst")
    document = refold("verify", "archive:b.zst", "--json")
    back = refold("copy", "archive:b.zst", "sqlite:///c.db")

    assert (shown.code, document.code, back.code) == (3, 3, 1)
    assert "DAMAGED: partition 0 is damaged between positions 4 and 1000: it is cut" in shown.out
    assert document.json["bad_block"]["first"] == 4
    assert back.sentence.startswith("partition 0 is damaged between positions 4 and 1000")
    assert not (tmp_path / "c.db").exists()
    salvaged = refold("copy", "archive:b.zst", "sqlite:///c.db", "--damaged", "--json")
    assert salvaged.json["partitions"][0]["position"] == 3


def test_keys_and_blobs_that_are_missing_are_told(refold: Refold, tmp_path: Path) -> None:
    needed = refold("copy", "sqlite:///a.db", "archive:b.zst", "--json").json["blobs"]["needed"]

    refused = refold("copy", "archive:b.zst", "sqlite:///c.db")
    brought = refold("copy", "archive:b.zst", "sqlite:///c.db", "--without-keys")

    assert refused.code == 1
    assert "sealed fields of 1 subjects and not their keys" in refused.sentence
    assert brought.code == 3
    assert f"missing blob: {needed[0]}" in brought.out
    shown = refold("show", "file", SHA, "--store", "sqlite:///c.db")
    assert shown.code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("move", "archive:b.zst", "sqlite:///c.db"),
        ("move", "sqlite:///a.db", "archive:c.zst"),
        ("cutover", "sqlite:///a.db", "archive:c.zst"),
        ("status", "--store", "archive:b.zst"),
        ("rebuild", "--store", "archive:b.zst"),
        ("doctor", "--store", "archive:b.zst"),
    ],
)
def test_other_commands_take_no_archive(
    refold: Refold, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    refold("copy", "sqlite:///a.db", "archive:b.zst")

    ran = refold(*arguments)

    assert ran.code == 1
    assert ran.sentence == "an archive is no store; refold copy and refold verify take one"
    assert not any((tmp_path / name).exists() for name in ("c.db", "c.zst"))


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (("copy", "archive:b.zst", "archive:c.zst"), 2, "an archive is copied to another as any"),
        (("copy", "sqlite:///a.db", "sqlite:///c.db", "--with-keys"), 2, "--with-keys is for"),
        (("copy", "sqlite:///a.db", "archive:b.zst", "--damaged"), 2, "--without-keys and"),
        (("copy", "archive:b.zst", "sqlite:///c.db", "--with-keys"), 2, "--with-keys is for"),
        (("verify", "archive:b.zst", "archive:b.zst"), 1, "an archive is no store; "),
        (("verify", "archive:b.zst", "sqlite:///a.db", "--other-config", "none"), 1, "none "),
        (("verify", "sqlite:///a.db", "archive:b.zst", "--config", "none.toml"), 1, "none.toml "),
        (("copy", "archive:a.db", "sqlite:///c.db"), 1, "is no archive of refold"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(
    refold: Refold, tmp_path: Path, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    refold("copy", "sqlite:///a.db", "archive:b.zst")

    ran = refold(*arguments)

    assert ran.code == code
    assert sentence in ran.err
    assert not (tmp_path / "c.db").exists()


def test_a_store_that_an_archive_fills_has_one_partition(
    refold: Refold, monkeypatch: pytest.MonkeyPatch
) -> None:
    refold("copy", "sqlite:///a.db", "archive:b.zst", "--with-keys")
    monkeypatch.setenv("REFOLD_PARTITIONS", "4")

    filled = refold("copy", "archive:b.zst", "sqlite:///c.db")
    monkeypatch.delenv("REFOLD_PARTITIONS")

    assert filled.code in (0, 3), filled.err
    assert len(refold("status", "--store", "sqlite:///c.db", "--json").json["partitions"]) == 1


def test_an_archive_that_is_not_there_is_unavailable(refold: Refold, tmp_path: Path) -> None:
    for ran in (
        refold("verify", "archive:x.zst"),
        refold("copy", "archive:x.zst", "sqlite:///c.db"),
    ):
        assert ran.code == 4
        assert ran.sentence == f"there is no archive at archive:{tmp_path}/x.zst"
    assert not (tmp_path / "c.db").exists()
