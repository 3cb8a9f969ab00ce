"""`refold erase user`: what it prints, keeps and exits with, and what other commands say after."""

import json
from pathlib import Path

import pytest

from refold.tests.scripts.conftest import Ran, Refold

LATER = "2990-01-01T00:00:00Z"
SECRETS = ("ada.lovelace", "ada@lovelace.example", "Ada Lovelace", "$2b$10$adashash", "adas-token")
PROFILE = {"username": SECRETS[0], "email": SECRETS[1], "displayName": SECRETS[2]}


@pytest.fixture
def store(refold: Refold, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with Ada, Bo and a push of hers; its address is in the environment."""
    monkeypatch.setenv("REFOLD_STORE", "sqlite:///users.db")
    assert refold("init").code == 0
    bo = {"username": "bo", "email": "bo@b"}
    lines = [
        ("user.register", {"id": "1", "profile": PROFILE, "password_hash": SECRETS[3]}),
        ("user.register", {"id": "2", "profile": bo}),
        ("session.set", {"sid": "s", "body": SECRETS[4], "expires_at": LATER, "user": SECRETS[0]}),
        ("push.record", {"document": {"id": "a__b", "userEmail": SECRETS[1]}}),
    ]
    given = "".join(
        json.dumps({"name": name, "data": data, "command_id": f"c{n}"}) + "\n"
        for n, (name, data) in enumerate(lines)
    )
    ran = refold("command", "--lines", stdin=given)
    assert ran.out.count("appended") == len(lines), ran.out
    return "sqlite:///users.db"


def test_an_erasure_prints_and_keeps_a_certificate_that_tells_nothing(
    refold: Refold, store: str, tmp_path: Path
) -> None:
    planned = refold("erase", "user", "Ada.Lovelace", "--dry-run", "--json")
    assert planned.json == {
        "stream": "user-1",
        "erased_before": False,
        "sessions": 1,
        "roles": 0,
        "uploads": 0,
    }

    erased = refold("erase", "user", "Ada.Lovelace", "--certificate", tmp_path / "ada.json")
    again = refold("erase", "user", SECRETS[0], "--json")
    told_again = refold("erase", "user", SECRETS[0])

    assert (erased.code, again.code) == (0, 0), erased.out
    assert erased.out.startswith("user-1: ")
    assert erased.out.endswith("nothing else is left\n")
    assert "kept as evidence" in erased.out
    kept = json.loads((tmp_path / "ada.json").read_text())
    assert (kept["clean"], kept["again"], kept["sessions_ended"]) == (True, False, 1)
    assert kept["kept"]["pushes"] == ["push-a__b"]
    assert {f"{tmp_path}/users.db{part}" for part in ("", "-tables")} <= kept["scanned"].keys()
    assert kept["not_sought"] == []
    assert again.json["again"]
    assert again.json["not_sought"] == ["what was sealed under the key that was destroyed before"]
    assert again.json["not_sought"][0] in told_again.out
    assert told_again.out.endswith("nothing was found of what was sought\n")
    assert again.json["position"] == kept["position"]
    for said in erased.out, erased.err, json.dumps(kept), again.out:
        assert not told(said)
    assert not told("".join(sorted(path.name for path in tmp_path.iterdir())))


def test_no_command_tells_afterwards_who_was_erased(refold: Refold, store: str) -> None:
    before = refold("explain", "users", "1")
    assert told(before.out)
    assert refold("erase", "user", SECRETS[0]).code == 0

    said = [
        refold("explain", "users", "1"),
        refold("as-of", "users", "2"),
        refold("show", "user", "1", "--as-of", "2"),
        refold("show", "user", "1"),
        refold("export", "jsonl", "users"),
        refold("export", "csv", "sessions"),
        refold("status"),
        refold("doctor"),
        refold("rebuild"),
        refold("verify", store),
    ]

    assert [told(each.out + each.err) for each in said] == [[]] * len(said)
    assert "erased" in said[0].out
    assert [each.code for each in said[-3:]] == [0, 0, 0]


def test_what_is_left_is_a_difference_and_an_archive_with_keys_is_named(
    refold: Refold, store: str
) -> None:
    assert refold("as-of", "users", "2", "--into", "users_then").code == 0
    assert refold("copy", store, "archive:with.zst", "--with-keys").code == 0
    assert refold("copy", store, "archive:without.zst").code == 0

    archives = ("--archive", "with.zst", "--archive", "without.zst")
    left = refold("erase", "user", SECRETS[0], *archives)

    assert left.code == 3
    found = [line for line in left.out.splitlines() if line.startswith("FOUND")]
    assert "FOUND: e-mail in users_then, email: 1" in found
    assert [line for line in found if "with.zst" in line] == [
        line for line in found if line.startswith("FOUND: key in archive:")
    ]
    assert len([line for line in found if "/with.zst, key: user-1" in line]) == 1
    assert not any("without.zst" in line for line in found)
    assert not told(left.out)


@pytest.mark.parametrize("content", [None, b"no archive"])
def test_nothing_is_erased_when_an_archive_is_none(
    refold: Refold, store: str, tmp_path: Path, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "typo.zst").write_bytes(content)
    assert refold("copy", store, "archive:backup.zst").code == 0

    archives = ("--archive", "backup.zst", "--archive", tmp_path / "typo.zst")
    failed = refold("erase", "user", SECRETS[0], *archives)

    assert failed.code == (4 if content is None else 1)
    assert "typo.zst" in failed.sentence
    assert refold("show", "user", "1").json["username"] == SECRETS[0]
    assert refold("erase", "user", SECRETS[0], "--dry-run", "--json").json["sessions"] == 1


def test_nobody_is_erased_whom_nobody_knows(refold: Refold, store: str) -> None:
    nobody = refold("erase", "user", "nobody")
    of_id = refold("erase", "user", SECRETS[0], "--id")
    nowhere = refold("erase", "user", SECRETS[0], "--certificate", "no/such/folder/x.json")

    assert (nobody.code, of_id.code, nowhere.code) == (1, 1, 1)
    assert nobody.sentence == of_id.sentence
    assert "nobody of that name or id" in nobody.sentence
    assert refold("show", "user", "1").json["username"] == SECRETS[0]


def told(said: str | Ran) -> list[str]:
    """What is told of Ada."""
    text = str(said).lower()
    return [secret for secret in SECRETS if secret.lower() in text]


def test_an_account_of_the_same_name_elsewhere_is_nothing_else_that_is_left(
    refold: Refold,
) -> None:
    data = Path(__file__).parents[1] / "data" / "git-proxy" / "small" / "nedb"
    refold("import", "git-proxy", data, "--store", "sqlite:///proxy.db")

    erased = refold("erase", "user", "tueda", "--store", "sqlite:///proxy.db", "--json")

    assert (erased.code, erased.json["found"]) == (0, [])


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere/ada.json", "No such file or directory"),
        (".", "Is a directory"),
        (f"{'a' * 250}.json", "File name too long"),
    ],
)
def test_a_certificate_that_cannot_be_kept_is_refused_before_anybody_is_erased(
    refold: Refold, store: str, path: str, why: str
) -> None:
    ran = refold("erase", "user", SECRETS[0], "--certificate", path)

    assert ran.code == 1
    assert ran.sentence == f"the certificate cannot be kept in {path}: {why}"
    assert refold("show", "user", "1").json["username"] == SECRETS[0]
