"""What nobody should send: it is kept or refused by name, whole or not at all."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from refold.domain.positions import PARTITION
from refold.infrastructure.open import open_store
from refold.tests.infrastructure.faults import forks
from refold.tests.infrastructure.faults.invariant import check
from refold.tests.infrastructure.faults.processes import refold

KEPT: Final = "appended"
ODD: Final[dict[str, tuple[bytes, str, str]]] = {
    # a JSON value; what becomes of it as the name of a file; and somewhere in a push's document
    "100 000 levels": (b"[" * 100_000 + b"]" * 100_000, "BadInput", "BadInput"),
    "100 000 brackets": (b"[" * 100_000, "BadInput", "BadInput"),
    "NUL": (b'"a\\u0000b"', "IllFormedText", KEPT),
    "a raw NUL": (b'"a\0b"', "BadInput", "BadInput"),
    "a lone surrogate": (b'"a\\ud800"', "IllFormedText", KEPT),
    "no UTF-8": (b'"\xff\xfe"', "BadInput", "BadInput"),
    "a key twice": (b'"x", "name": "y"', KEPT, KEPT),
    "2^63": (b"9223372036854775808", "BadInput", KEPT),
    "5000 digits": (b"9" * 5_000, "BadInput", "BadInput"),
    "1e400": (b"1e400", "BadInput", "NotStorable"),
    "NaN": (b"NaN", "BadInput", "BadInput"),
    "Infinity": (b"-Infinity", "BadInput", "BadInput"),
    "10 MB": (b'"%s"' % (b"x" * 10_000_000), "IllFormedText", KEPT),
}

Record = Callable[[str, object], None]


@pytest.fixture(autouse=True)
def blobs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give large contents a place, for PostgreSQL, too."""
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))


def _file(number: int, name: bytes) -> bytes:
    return b'{"sha256": "%064x", "cid": "cid", "name": %s}' % (number, name)


def test_each_line_of_commands_is_answered_and_the_next_one_is_carried_out(
    url: str, tmp_path: Path, record_property: Record
) -> None:
    lines, expected = [], []
    for number, (value, name, document) in enumerate(ODD.values()):
        lines.append(b'{"name": "file.register", "data": %s}' % _file(number, value))
        push = b'{"id": "push-%d", "type": "push", "odd": %s}' % (number, value)
        lines.append(b'{"name": "push.record", "data": {"document": %s}}' % push)
        expected += [name, document]
    stdin = tmp_path / "lines"
    stdin.write_bytes(b"\n".join(lines))

    command = stdin, "command", "--lines", "--store", url
    with forks.forked(tmp_path, forks.refold_reading, *command) as process:
        assert process.ended() == 0, process.stderr

    answers = [json.loads(line) for line in process.stdout.splitlines()]
    assert [each.get("error", each["outcome"]) for each in answers] == expected
    assert max(len(each.get("message", "")) for each in answers) < 250
    kept = {each["command_id"]: each["position"] for each in answers if "position" in each}
    with open_store(url) as store:
        assert len(check(store, kept)) == len(kept) == expected.count(KEPT)
    record_property("odd value in a command", len(ODD) * 2)


def test_a_command_that_is_refused_is_one_sentence_and_leaves_nothing_behind(
    tmp_path: Path, record_property: Record
) -> None:
    url, stdin, kept = f"sqlite:///{tmp_path / 'store.db'}", tmp_path / "stdin", 0
    with open_store(url, create=True) as store:
        for number, (value, expected, _) in enumerate(ODD.values()):
            stdin.write_bytes(_file(number, value))

            command = stdin, "command", "file.register", "--store", url
            with forks.forked(tmp_path, forks.refold_reading, *command) as process:
                code = process.ended()

            kept += expected == KEPT
            assert store.log.heads()[PARTITION].position == kept
            assert code == (0 if expected == KEPT else 1)
            assert process.stderr.count("\n") == code
            assert len(process.stderr) < 250
        check(store)
    record_property("odd value in a command", len(ODD))


@pytest.mark.parametrize("system", ["pinshare", "git-proxy"])
def test_an_import_accounts_for_each_record_and_goes_on_or_is_refused_whole(
    tmp_path: Path, record_property: Record, system: str
) -> None:
    url, seen = f"sqlite:///{tmp_path / 'store.db'}", Counter[tuple[int, int]]()
    with open_store(url, create=True) as store:
        before = 0
        for number, (odd, (value, *_)) in enumerate(ODD.items()):
            path = _export(system, tmp_path, number, value)

            ran = refold("import", system, path, "--source", odd, "--store", url, "--json")

            head = store.log.heads()[PARTITION].position
            if ran.code:
                assert (ran.code, ran.stderr.count("\n"), head) == (1, 1, before), odd
            else:
                refused = len(ran.document["refused"])
                assert ran.document["imported"] == 3 - refused == head - before >= 2, odd
            seen[ran.code, head - before] += 1
            before = head
        check(store)

    assert len(seen) >= 2, seen  # all of a file, or all but one record, or nothing
    record_property("odd value in an import", len(ODD))


def _export(system: str, folder: Path, number: int, value: bytes) -> Path:
    """Write a file of three records; `value` is somewhere in the second."""
    keys = [b"%064x" % (10 * number + each) for each in range(3)]
    values = [b'"a"', value, b'"c"']
    if system == "pinshare":
        path = folder / "metadata.json"
        records = [
            b'"%s": {"fileSHA256": "%s", "ipfsCID": "cid", "fileName": %s, "fileType": "x"}'
            % (key, key, each)
            for key, each in zip(keys, values, strict=True)
        ]
        path.write_bytes(b"{%s}" % b",\n".join(records))
        return path
    path = folder / f"git-proxy-{number}"
    path.mkdir()
    lines = [
        b'{"id":"%s","type":"push","odd":%s,"_id":"%s"}\n' % (key, each, key)
        for key, each in zip(keys, values, strict=True)
    ]
    (path / "pushes.db").write_bytes(b"".join(lines))
    return path
