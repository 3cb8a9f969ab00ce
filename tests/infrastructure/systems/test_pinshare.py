"""PinShare's MetadataStore on every engine: each operation, each trap, and random ones."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import Barrier
from time import time_ns
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refold.domain import times
from refold.domain.errors import BadInput, Failure, Refused
from refold.domain.file import CidDoesNotMatch, UnknownBanCode, UnknownFile
from refold.domain.ports import Event
from refold.domain.texts import IllFormedText, NotASha256
from refold.infrastructure.legacy.large_object import NotMetadata, Truncated
from refold.infrastructure.open import open_store
from refold.infrastructure.services.files import list_files, search
from refold.infrastructure.store import Store
from refold.infrastructure.systems.pinshare import MetadataStore
from refold.tests.addresses import new_url

TESTS: Final = Path(__file__).parents[2]
SMALL: Final = TESTS.parent / "scripts" / "demo-data" / "metadata.small.json"
BOOLEANS: Final = TESTS / "data" / "pinshare" / "metadata.booltags.json"
SHA: Final = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
OTHER: Final = "ab" * 32
PAPER: Final = {"fileSHA256": SHA, "ipfsCID": "bafy1", "fileName": "paper.pdf", "fileType": "pdf"}
LONG_AGO, LATER = "2001-01-01T00:00:00Z", "2999-01-01T00:00:00Z"
ENGINES: Final = ["memory", "sqlite", "postgres"]


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An empty store, one of each engine."""
    with opened(request, str(request.param), tmp_path) as store:
        yield store


@pytest.fixture
def files(store: Store) -> MetadataStore:
    """A MetadataStore that knows one paper."""
    files = MetadataStore(store)
    files.add_file(PAPER)
    return files


SHA_IN_SMALL: Final = "fdf4ed942d8363af9d685649be0ce017ac9c1938b047c0c9a5bf9b67c437b82c"

# --- Load -------------------------------------------------------------------------


def test_load_reads_a_file_into_what_is_there(store: Store, tmp_path: Path) -> None:
    files = MetadataStore(store)
    files.load(written(tmp_path, record(SHA, tags={"LENR": 3}, moderationVotes=-1, banSet=9)))
    files.add_file({**PAPER, "fileSHA256": OTHER})

    report = files.load(written(tmp_path, record(SHA, fileName="new.pdf", lastUpdated=LATER)))

    assert (report.records, report.imported) == (1, 1)
    assert files.get_file(SHA) == record(SHA, fileName="new.pdf", lastUpdated=LATER)
    assert len(files.get_all_files()) == 2


@pytest.mark.parametrize("text", [None, "", "null", "{}"])
def test_load_of_no_files_takes_nothing_and_loses_nothing(
    memory: Store, tmp_path: Path, text: str | None
) -> None:
    files = MetadataStore(memory)
    files.add_file(PAPER)
    path = tmp_path / "metadata.json"
    if text is not None:
        path.write_text(text)

    report = files.load(path)

    assert (report.records, report.refused) == (0, [])
    assert len(files.get_all_files()) == 1


@pytest.mark.parametrize(("cut", "why"), [("{", Truncated), ("[]", NotMetadata)])
def test_load_of_a_broken_file_is_an_error_and_the_next_save_loses_nothing(
    files: MetadataStore, tmp_path: Path, cut: str, why: type[BadInput]
) -> None:
    path = tmp_path / "metadata.json"
    path.write_text(cut)

    with pytest.raises(why):
        files.load(path)

    assert files.save(path) == 1
    assert json.loads(path.read_text())[SHA] == files.get_file(SHA)


def test_loading_what_was_saved_changes_nothing(files: MetadataStore, tmp_path: Path) -> None:
    path = tmp_path / "metadata.json"
    files.vote_on_tag(SHA, "LENR", True)
    files.vote_for_removal(SHA, True)
    before = files.get_all_files()

    for _ in range(3):
        files.save(path)
        assert files.load(path).unchanged == 1

    assert files.get_all_files() == before


def test_loading_an_older_file_takes_nothing_back_and_says_so(
    files: MetadataStore, tmp_path: Path
) -> None:
    path = tmp_path / "metadata.json"
    files.save(path)
    files.ban_file(SHA, 9)
    files.vote_on_tag(SHA, "LENR", True)
    before = files.get_file(SHA)

    report = files.load(path)

    assert files.get_file(SHA) == before
    assert report.notes == [(SHA, "not taken over: what is known is as new or newer")]


def test_a_file_that_another_program_went_on_with_counts_no_vote_twice(
    files: MetadataStore, tmp_path: Path
) -> None:
    files.vote_on_tag(SHA, "LENR", True, voter="ada")
    files.vote_for_removal(SHA, False)
    path = tmp_path / "metadata.json"
    files.save(path)
    document = json.loads(path.read_text())
    document[SHA] |= {"lastUpdated": LATER, "tags": {"LENR": 2, "far": -1}, "moderationVotes": -5}
    path.write_text(json.dumps(document))

    files.load(path)

    known = files.get_file(SHA)
    assert known == document[SHA]
    files.vote_on_tag(SHA, "LENR", False, voter="ada")
    files.vote_for_removal(SHA, False)
    assert totals(files) == ({"LENR": 0, "far": -1}, -6)


def test_votes_that_come_while_a_file_is_loaded_count(
    memory: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = MetadataStore(memory)
    files.add_file(PAPER)
    files.vote_on_tag(SHA, "LENR", True, voter="ada")
    here = files.get_file(SHA) or {}
    newer = written(tmp_path, {**here, "lastUpdated": LATER})
    asked, read = count(), Store.family

    def family(store: Store, name: str) -> list[Event]:
        found = read(store, name)
        if not next(asked):
            files.vote_on_tag(SHA, "LENR", True, voter="bo")
            files.vote_for_removal(SHA, True, voter="bo")
        return found

    monkeypatch.setattr(Store, "family", family)
    report = files.load(newer)

    assert report.imported == 1
    shown = files.get_file(SHA) or {}
    assert (shown["tags"], shown["moderationVotes"]) == ({"LENR": 2}, 1)


def test_load_gives_account_of_each_record(files: MetadataStore, tmp_path: Path) -> None:
    documents = {
        SHA: record(SHA, lastUpdated=LATER),
        "ODD key": record("other", lastUpdated=LATER),
        OTHER: record(OTHER, tags=7),
    }
    path = tmp_path / "metadata.json"
    path.write_text(json.dumps(documents))

    reports = [files.load(path) for _ in range(2)]

    assert [(each.imported, each.unchanged, len(each.refused)) for each in reports] == [
        (2, 0, 1), (0, 2, 1),
    ]  # fmt: skip
    assert files.get_file(OTHER) is None
    assert files.get_file("ODD key") == record("ODD key", lastUpdated=LATER)


# --- Save -------------------------------------------------------------------------


def test_save_writes_all_files_as_go_does(store: Store, tmp_path: Path) -> None:
    files = MetadataStore(store)
    files.load(written(tmp_path, record("b", tags={"ü<": 1, "a": -2}), record("a", tags=None)))
    path = tmp_path / "saved.json"

    assert files.save(path) == 2

    expected = {"a": record("a", tags=None), "b": record("b", tags={"a": -2, "ü<": 1})}
    assert path.read_text("utf-8") == go_json(expected)


def test_a_save_that_fails_leaves_the_file_as_it_was(files: MetadataStore, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be written: No such file"):
        files.save(tmp_path / "nowhere" / "metadata.json")
    folder = tmp_path / "metadata.json"
    folder.mkdir()
    with pytest.raises(BadInput, match="cannot be written"):
        files.save(folder)

    assert [each.name for each in tmp_path.glob("metadata*")] == ["metadata.json"]


# --- AddFile ----------------------------------------------------------------------


def test_a_new_file_is_added_now(store: Store) -> None:
    files = MetadataStore(store)
    before = time_ns() // 1_000
    files.add_file({**PAPER, "addedAt": LONG_AGO, "lastUpdated": LONG_AGO})

    known = files.get_file(SHA)
    assert known is not None
    assert before <= times.micros(known["addedAt"]) <= time_ns() // 1_000
    assert known == record(
        SHA, **PAPER, addedAt=known["addedAt"], lastUpdated=known["addedAt"], tags={}
    )


def test_put_must_not_un_ban(files: MetadataStore) -> None:
    moderate(files)
    before = files.get_file(SHA)

    files.add_file({"fileSHA256": SHA, "ipfsCID": "bafy2"})

    after = files.get_file(SHA)
    assert after is not None
    assert before is not None
    assert times.instant(after["lastUpdated"]) > times.instant(before["lastUpdated"])
    assert after == before | {"ipfsCID": "bafy2", "lastUpdated": after["lastUpdated"]}


def test_put_forgets_moderation_where_that_is_chosen(store: Store) -> None:
    files = MetadataStore(store, put="replace")
    files.add_file(PAPER)
    before = files.get_file(SHA)
    assert before is not None
    moderate(files)

    files.add_file({"fileSHA256": SHA, "ipfsCID": "bafy2", "fileType": "txt"})

    after = files.get_file(SHA)
    assert after is not None
    fields = {"ipfsCID": "bafy2", "fileName": "", "fileType": "txt"}
    assert after == before | fields | {"lastUpdated": after["lastUpdated"]}


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ({"ipfsCID": "bafy1"}, BadInput),
        ({**PAPER, "fileSHA256": ""}, NotASha256),
        ({**PAPER, "fileSHA256": SHA.upper()}, NotASha256),
        ({"fileSHA256": OTHER}, BadInput),
        ({**PAPER, "ipfsCID": ""}, IllFormedText),
        ({**PAPER, "ipfsCID": 7}, BadInput),
        ({**PAPER, "banSet": 3}, BadInput),
        ({**PAPER, "tags": {"a": 1}}, BadInput),
        ({**PAPER, "filesize": 3}, BadInput),
        (
            {**PAPER, "ipfsCID": "bafkreiariwxzvvl6szkqvhs2jxv3qvcsvvszxgaxwmki56m6obaylubtfa"},
            CidDoesNotMatch,
        ),
    ],
)
@pytest.mark.parametrize("put", ["keep", "replace"])
def test_what_cannot_be_added_is_refused(
    memory: Store, put: Any, meta: dict[str, Any], why: type[Refused]
) -> None:
    files = MetadataStore(memory, put=put)
    files.add_file(PAPER)
    before = files.get_all_files()

    with pytest.raises(why):
        files.add_file(meta)

    assert files.get_all_files() == before


def test_of_many_who_add_a_file_none_wipes_what_another_said(store: Store) -> None:
    files = MetadataStore(store)
    shas = [sum_of(str(n)) for n in range(20)]  # one race alone misses too often
    line_up = Barrier(4, timeout=30)

    def race(writer: int) -> None:
        name = {"fileName": "paper.pdf"} if writer == 0 else {}
        for sha in shas:
            line_up.wait()
            files.add_file({"fileSHA256": sha, "ipfsCID": "bafy1", **name})

    with ThreadPoolExecutor(line_up.parties) as pool:
        list(pool.map(race, range(line_up.parties)))

    assert {each["fileName"] for each in files.get_all_files()} == {"paper.pdf"}


# --- GetFile, GetAllFiles ---------------------------------------------------------


@pytest.mark.parametrize("sha", ["", OTHER, SHA.upper(), "a/b%", "\0", "\ud800"])
def test_a_file_that_is_not_known_is_none(files: MetadataStore, sha: str) -> None:
    assert files.get_file(sha) is None


def test_what_was_got_may_be_changed_without_harm(files: MetadataStore) -> None:
    files.add_tag(SHA, "LENR")
    known = files.get_file(SHA)
    assert known is not None

    known["tags"]["spam"] = 5

    assert totals(files) == ({"LENR": 0}, 0)


def test_all_files_are_those_that_are_got_one_by_one(store: Store) -> None:
    files = MetadataStore(store)
    assert files.get_all_files() == []

    files.load(SMALL)
    files.ban_file(SHA_IN_SMALL, 9)
    files.vote_on_tag(SHA_IN_SMALL, "new", False)

    listed = files.get_all_files()
    assert len(listed) == 202
    assert listed == [files.get_file(key) for key in (each["fileSHA256"] for each in listed)]


def test_listing_order_is_added_at_then_sum(store: Store, tmp_path: Path) -> None:
    files = MetadataStore(store)
    midnight = "2025-01-01T00:00:00"
    added = {
        "d": f"{midnight}Z",
        "c": "2025-01-01T01:00:00+01:00",
        "Z": f"{midnight}.000000Z",
        "b": f"{midnight}.000001Z",
        "a": "2026-01-01T00:00:00Z",
        "é": "0001-01-01T00:00:00Z",
        "x/y%": f"{midnight}Z",
    }
    files.load(written(tmp_path, *(record(key, addedAt=at) for key, at in added.items())))
    order = ["é", "Z", "c", "d", "x/y%", "b", "a"]

    assert [each["fileSHA256"] for each in files.get_all_files()] == order
    pages = [list_files(store, limit=3, offset=offset) for offset in (0, 3, 6)]
    assert [view.sha256 for page in pages for view in page] == order


# --- tags, votes and bans ---------------------------------------------------------


@pytest.mark.parametrize(
    "ask",
    [
        lambda files, sha: files.add_tag(sha, "LENR"),
        lambda files, sha: files.remove_tag(sha, "LENR"),
        lambda files, sha: files.vote_on_tag(sha, "LENR", True),
        lambda files, sha: files.vote_for_removal(sha, True),
        lambda files, sha: files.ban_file(sha, 9),
        lambda files, sha: files.ban_file(sha, 0),
    ],
)
@pytest.mark.parametrize(("sha", "why"), [(OTHER, UnknownFile), ("", NotASha256)])
def test_a_file_that_is_not_known_is_an_error(
    memory: Store, ask: Callable[[MetadataStore, str], None], sha: str, why: type[Refused]
) -> None:
    for files in (MetadataStore(memory), MetadataStore(memory, re_add_tag="reset")):
        with pytest.raises(why):
            ask(files, sha)

    assert memory.log.heads()[0].position == 0


def test_tag_count_default(files: MetadataStore) -> None:
    files.add_tag(SHA, "LENR")
    files.vote_on_tag(SHA, "up", True)
    files.vote_on_tag(SHA, "down", False)

    assert totals(files) == ({"LENR": 0, "down": -1, "up": 1}, 0)


@pytest.mark.parametrize(("re_add_tag", "votes"), [("keep", 2), ("reset", 0)])
def test_add_tag_on_an_existing_tag(store: Store, re_add_tag: Any, votes: int) -> None:
    files = MetadataStore(store, re_add_tag=re_add_tag)
    files.add_file(PAPER)
    files.vote_on_tag(SHA, "LENR", True, voter="ada")
    files.vote_on_tag(SHA, "LENR", True)

    files.add_tag(SHA, "LENR")
    assert totals(files) == ({"LENR": votes}, 0)
    files.vote_on_tag(SHA, "LENR", True, voter="ada")

    assert totals(files) == ({"LENR": votes if re_add_tag == "keep" else 1}, 0)


def test_a_removed_tag_is_gone_and_starts_again_at_0(files: MetadataStore) -> None:
    files.vote_on_tag(SHA, "LENR", True)
    files.remove_tag(SHA, "LENR")
    assert totals(files) == ({}, 0)
    before = files.get_file(SHA)
    files.remove_tag(SHA, "LENR")
    assert files.get_file(SHA) == before

    files.add_tag(SHA, "LENR")

    assert totals(files) == ({"LENR": 0}, 0)


def test_tags_are_told_apart_by_case_and_spaces(files: MetadataStore) -> None:
    for tag in ("lenr", "LENR", " LENR"):
        files.add_tag(SHA, tag)

    assert totals(files) == ({" LENR": 0, "LENR": 0, "lenr": 0}, 0)


def test_votes_may_go_below_0(files: MetadataStore) -> None:
    for up in (False, False, True, False):
        files.vote_on_tag(SHA, "LENR", up)
        files.vote_for_removal(SHA, up)

    assert totals(files) == ({"LENR": -2}, -2)


def test_a_voter_has_one_vote_and_may_turn_it_round(files: MetadataStore) -> None:
    for up in (True, True, False, True, False):
        files.vote_on_tag(SHA, "LENR", up, voter="ada")
        files.vote_for_removal(SHA, not up, voter="ada")
    files.vote_on_tag(SHA, "LENR", False, voter="bo")

    assert totals(files) == ({"LENR": -2}, 1)


def test_ban_codes(files: MetadataStore, tmp_path: Path) -> None:
    for code in (3, 6, 9, 0):
        files.ban_file(SHA, code)
        assert (files.get_file(SHA) or {})["banSet"] == code
    for code in (4, 7, -1):
        with pytest.raises(UnknownBanCode, match=f"ban code {code} is not one of 0, 3, 6, 9"):
            files.ban_file(SHA, code)

    report = files.load(written(tmp_path, record(OTHER, banSet=7)))

    assert (files.get_file(OTHER) or {})["banSet"] == 7
    assert (OTHER, "unknown ban code 7") in report.notes
    files.save(tmp_path / "saved.json")
    assert json.loads((tmp_path / "saved.json").read_text())[OTHER]["banSet"] == 7


def test_what_changes_nothing_is_no_news(files: MetadataStore) -> None:
    files.vote_on_tag(SHA, "LENR", True, voter="ada")
    files.ban_file(SHA, 9)
    before = files.get_file(SHA)

    files.add_file(PAPER)
    files.add_tag(SHA, "LENR")
    files.remove_tag(SHA, "absent")
    files.vote_on_tag(SHA, "LENR", True, voter="ada")
    files.ban_file(SHA, 9)

    assert files.get_file(SHA) == before


@pytest.mark.parametrize("put", ["keep", "replace"])
def test_what_is_asked_twice_with_one_command_id_is_done_once(store: Store, put: Any) -> None:
    files = MetadataStore(store, put=put, re_add_tag="reset", tie="replace")
    gossiped = record(SHA, lastUpdated=LATER, moderationVotes=3)
    asked: list[Callable[..., object]] = [
        partial(files.add_file, PAPER),
        partial(files.vote_on_tag, SHA, "LENR", True),
        partial(files.vote_for_removal, SHA, False),
        partial(files.ban_file, SHA, 9),
        partial(files.remove_tag, SHA, "LENR"),
        partial(files.add_tag, SHA, "LENR"),
        partial(files.apply_gossip_update, gossiped),
    ]
    answers = [ask(command_id=f"id-{n}") for n, ask in enumerate(asked)]
    before, position = files.get_file(SHA), store.log.heads()[0].position

    assert [ask(command_id=f"id-{n}") for n, ask in enumerate(asked)] == answers

    assert (files.get_file(SHA), store.log.heads()[0].position) == (before, position)


def test_the_choices_are_checked(memory: Store) -> None:
    for choice in ({"put": "x"}, {"re_add_tag": "replace"}, {"tie": ""}):
        [(name, value)] = choice.items()
        with pytest.raises(BadInput, match=f"^{name} is {value!r}, not one of keep, re"):
            MetadataStore(memory, **choice)  # type: ignore[arg-type]


# --- gossip -----------------------------------------------------------------------


def test_gossip_about_a_new_file_is_taken_with_its_times(store: Store) -> None:
    files = MetadataStore(store)
    remote = record(
        SHA,
        lastUpdated="2025-08-05T21:44:29.123456789+01:00",
        tags={"LENR": 3},
        moderationVotes=-1,
        banSet=7,
    )

    assert files.apply_gossip_update(remote, peer="12D3")

    assert files.get_file(SHA) == remote


@pytest.mark.parametrize(("time", "applied"), [(LATER, True), (LONG_AGO, False)])
def test_gossip_is_taken_when_it_is_newer(files: MetadataStore, time: str, applied: bool) -> None:
    before, remote = files.get_file(SHA), record(SHA, lastUpdated=time, fileName="theirs.pdf")

    assert files.apply_gossip_update(remote) is applied

    assert files.get_file(SHA) == (remote if applied else before)


def test_lww_precision_is_a_nanosecond(files: MetadataStore) -> None:
    base = "2999-01-01T00:00:00.12345678"
    taken = [
        files.apply_gossip_update(record(SHA, lastUpdated=f"{base}{end}Z")) for end in "1103829"
    ]

    assert taken == [True, False, False, True, True, False, True]


@pytest.mark.parametrize(("tie", "applied"), [("keep", False), ("replace", True)])
def test_lww_ties(store: Store, tie: Any, applied: bool) -> None:
    files = MetadataStore(store, tie=tie)
    files.add_file(PAPER)
    before = files.get_file(SHA)
    assert before is not None
    remote = record(SHA, fileName="theirs.pdf", lastUpdated=before["lastUpdated"])

    assert files.apply_gossip_update(remote) is applied

    assert files.get_file(SHA) == (remote if applied else before)


@pytest.mark.parametrize(("tie", "votes"), [("keep", [2, 1]), ("replace", [2, 2])])
def test_nodes_that_repeat_their_records_in_turn_come_to_rest(
    memory: Store, tie: Any, votes: list[int]
) -> None:
    with open_store("memory:") as elsewhere:
        nodes = [MetadataStore(memory, tie=tie), MetadataStore(elsewhere, tie=tie)]
        for node in nodes:
            node.add_file(PAPER)
            node.vote_on_tag(SHA, "LENR", True)
        for _ in range(2):
            exchange(nodes)

        taken = [exchange(nodes) for _ in range(3)]

        assert taken == [[False, False]] * 3
        assert [totals(node)[0]["LENR"] for node in nodes] == votes


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        ({"a": 1.5}, "tag 'a' is the number 1.5, not a whole number"),
        ({"a": []}, "tag 'a' is a list, not a whole number"),
        ({"a": {}}, "tag 'a' is an object, not a whole number"),
        ({1: 2}, "a key of a document is not a text"),
        (1.5, "tags is the number 1.5, not an object"),
    ],
)
def test_gossip_that_cannot_be_kept_is_refused_for_what_it_is(
    memory: Store, tags: object, why: str
) -> None:
    with pytest.raises(Refused, match=f"^{why}$"):
        MetadataStore(memory).apply_gossip_update(record(SHA, tags=tags))


@pytest.mark.parametrize(
    "meta",
    [{}, {"fileSHA256": ""}, {"fileSHA256": "odd"}, {"fileSHA256": OTHER, "tags": []}],
)
def test_gossip_without_a_sum_is_an_error(memory: Store, meta: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        MetadataStore(memory).apply_gossip_update(meta)

    assert memory.log.heads()[0].position == 0


# --- traps ------------------------------------------------------------------------

WORK_AND_WAIT: Final = """
import json, sys, time
from pathlib import Path
from refold.infrastructure.open import open_store
from refold.infrastructure.systems.pinshare import MetadataStore

url, sha = sys.argv[1:]
with open_store(url, create=True) as store:
    files = MetadataStore(store)
    files.add_file({"fileSHA256": sha, "ipfsCID": "bafy1", "fileName": "paper.pdf"})
    files.vote_on_tag(sha, "LENR", True)
    files.vote_for_removal(sha, False)
    files.ban_file(sha, 6)
    print(json.dumps(files.get_file(sha)), flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_survive_restart(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> None:
    url = new_url(request, tmp_path, engine)
    program = [sys.executable, "-c", WORK_AND_WAIT, url, SHA]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            before = json.loads(process.stdout.readline())
        finally:
            process.kill()
    assert process.returncode == -signal.SIGKILL

    with open_store(url) as store:
        files = MetadataStore(store)
        assert files.get_file(SHA) == before
        assert files.get_all_files() == [before]
        assert totals(files) == ({"LENR": 1}, -1)


def test_concurrent_votes_add_up(store: Store) -> None:
    files = MetadataStore(store)
    files.add_file(PAPER)

    def vote(n: int) -> None:
        files.vote_on_tag(SHA, "LENR", n % 4 > 0)
        files.vote_for_removal(SHA, n % 4 == 0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(vote, range(80)))

    assert totals(files) == ({"LENR": 40}, -40)
    assert files.get_all_files() == [files.get_file(SHA)]


def test_two_stores_on_one_place_add_up(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    path = tmp_path / "metadata.json"
    url = new_url(request, tmp_path, "sqlite")
    with open_store(url, create=True) as one, open_store(url) as other:
        daemon, cli = MetadataStore(one), MetadataStore(other)
        daemon.add_file(PAPER)
        for _ in range(3):  # as PinShare's command line does it, while the daemon goes on
            daemon.save(path)
            daemon.vote_on_tag(SHA, "LENR", True)
            cli.load(path)
            cli.vote_on_tag(SHA, "LENR", True)
            cli.save(path)

        assert totals(daemon) == totals(cli) == ({"LENR": 6}, 0)


def test_precision_and_bytes_survive_import_and_export(store: Store, tmp_path: Path) -> None:
    files = MetadataStore(store)
    files.load(SMALL)

    files.save(tmp_path / "saved.json")

    assert (tmp_path / "saved.json").read_bytes() == SMALL.read_bytes()
    nanoseconds = [each for each in files.get_all_files() if len(each["lastUpdated"]) == 30]
    assert len(nanoseconds) > 20


def test_export_is_the_import_but_for_booleans(store: Store, tmp_path: Path) -> None:
    files = MetadataStore(store)
    files.load(BOOLEANS)

    files.save(tmp_path / "saved.json")

    text = BOOLEANS.read_text("utf-8")
    documents = json.loads(text)
    assert '": true' in text
    assert '": false' in text
    for document in documents.values():
        tags = document.get("tags")
        if tags:
            document["tags"] = {tag: 0 for tag, there in tags.items() if there is not False}
    assert (tmp_path / "saved.json").read_text("utf-8") == go_json(documents)


def test_tags_null_stays_null(memory: Store, tmp_path: Path) -> None:
    files, path = MetadataStore(memory), written(tmp_path, record(SHA, tags=None))
    files.load(path)

    files.save(tmp_path / "saved.json")

    assert json.loads((tmp_path / "saved.json").read_text())[SHA]["tags"] is None
    assert (files.get_file(SHA) or {})["tags"] == {}


def test_late_gossip_does_not_bring_back_a_removed_tag(files: MetadataStore) -> None:
    files.vote_on_tag(SHA, "spam", True)
    stale = files.get_file(SHA)
    assert stale is not None
    files.remove_tag(SHA, "spam")

    assert not files.apply_gossip_update(stale)
    assert totals(files) == ({}, 0)

    assert files.apply_gossip_update(stale | {"lastUpdated": LATER})  # it says to be newer
    assert totals(files) == ({"spam": 1}, 0)  # as told, without the vote that was cast here


def test_votes_at_two_nodes_both_survive_gossip(files: MetadataStore) -> None:
    files.vote_on_tag(SHA, "LENR", True)
    files.vote_for_removal(SHA, False)

    remote = record(SHA, lastUpdated=LATER, tags={"LENR": 1, "far": 2}, moderationVotes=-1)
    assert files.apply_gossip_update(remote)

    assert totals(files) == ({"LENR": 2, "far": 2}, -2)


def test_votes_without_identity_are_a_baseline(store: Store, tmp_path: Path) -> None:
    files = MetadataStore(store)
    path = written(tmp_path, record(SHA, tags={"LENR": 3, "spam": -2}, moderationVotes=-1))
    files.load(path)
    files.save(tmp_path / "saved.json")
    assert (tmp_path / "saved.json").read_bytes() == path.read_bytes()

    files.vote_on_tag(SHA, "LENR", True, voter="ada")
    files.vote_on_tag(SHA, "spam", True)
    files.vote_for_removal(SHA, False, voter="ada")

    assert totals(files) == ({"LENR": 4, "spam": -1}, -2)
    files.save(tmp_path / "saved.json")
    assert json.loads((tmp_path / "saved.json").read_text())[SHA] == files.get_file(SHA)


CORPUS: Final = {
    "1": "Running Generalizations.pdf", "2": "runs of 2024.txt", "3": "HTMLParser.java",
    "4": "html_parser_test.go", "5": "Étude (brouillon).pdf", "6": "paper.pdf", "7": "",
}  # fmt: skip
FOUND: Final = {
    "run": "12", "papers": "6", "html parser": "34", "html -test": "3", "étude": "5",
    "pap*": "6", "nothing": "", "running or paper": "126", "reviewed": "7",
}  # fmt: skip


def test_search_finds_the_same_on_every_engine(store: Store) -> None:
    files = MetadataStore(store)
    for key, name in CORPUS.items():
        files.add_file({"fileSHA256": sum_of(key), "ipfsCID": "bafy1", "fileName": name})
    files.add_tag(sum_of("7"), "reviewed")

    found = {text: {key for key, _ in search(store, text).rows} for text in FOUND}

    assert found == {text: {sum_of(key) for key in keys} for text, keys in FOUND.items()}


# --- random operations, on the store and on a dict -----------------------------------


@dataclass
class Tally:
    """Votes: a total without voters, and who votes how."""

    base: int = 0
    votes: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.base + self.cast

    @property
    def cast(self) -> int:
        return sum(self.votes.values())


@dataclass
class Model:
    """A file as a dict would have it; `updated` is None where this machine's clock says it."""

    cid: str
    name: str = ""
    type: str = ""
    added: str | None = None
    updated: str | None = None
    ban: int = 0
    removal: Tally = field(default_factory=Tally)
    tags: dict[str, Tally] = field(default_factory=dict)

    def shown(self) -> dict[str, Any]:
        return {
            "ipfsCID": self.cid,
            "fileName": self.name,
            "fileType": self.type,
            "moderationVotes": self.removal.total,
            "tags": {tag: tally.total for tag, tally in self.tags.items()},
            "banSet": self.ban,
        }


class Dicts:
    """The contract of the MetadataStore, as simple as it can be said."""

    def __init__(self, put: str, re_add_tag: str, tie: str) -> None:
        self.put, self.re_add_tag, self.tie = put, re_add_tag, tie
        self.files: dict[str, Model] = {}
        self.numbers = count()

    def add_file(self, sha: str, fields: dict[str, Any]) -> None:
        file = self.files.get(sha)
        if file is None:
            self.files[sha] = Model(**fields)
        elif self.put == "replace":
            votes = file.removal.votes
            tally = Tally(-sum(votes.values()), votes)
            self.files[sha] = Model(**fields, added=file.added, removal=tally)
        else:
            self.touch(file, any(getattr(file, name) != value for name, value in fields.items()))
            vars(file).update(fields)

    def add_tag(self, sha: str, tag: str) -> None:
        file = self.known(sha)
        if tag not in file.tags or self.re_add_tag == "reset":
            file.tags[tag] = Tally()
            self.touch(file)

    def remove_tag(self, sha: str, tag: str) -> None:
        file = self.known(sha)
        self.touch(file, file.tags.pop(tag, None) is not None)

    def vote_on_tag(self, sha: str, tag: str, up: bool, voter: str | None) -> None:
        file = self.known(sha)
        if tag not in file.tags:
            file.tags[tag] = Tally()
        self.vote(file, file.tags[tag], up, voter)

    def vote_for_removal(self, sha: str, up: bool, voter: str | None) -> None:
        file = self.known(sha)
        self.vote(file, file.removal, up, voter)

    def ban_file(self, sha: str, code: int) -> None:
        file = self.known(sha)
        if code not in (0, 3, 6, 9):
            raise UnknownBanCode
        self.touch(file, file.ban != code)
        file.ban = code

    def apply_gossip(self, sha: str, fields: dict[str, Any], time: str) -> bool:
        file = self.files.get(sha)
        if file is None:
            self.take(sha, Model(""), fields, LATER if time == TIE else time)
            return True
        is_tie = time == TIE or bool(file.updated and same_instant(time, file.updated))
        if is_tie:
            if self.tie == "keep" or file.shown() == file.shown() | fields:
                return False
            self.take(sha, file, fields, file.updated if time == TIE else time)
            file.removal.base -= file.removal.cast
            for tally in file.tags.values():
                tally.base -= tally.cast
            return True
        if not is_newer(time, file.updated):
            return False
        self.take(sha, file, fields, time)
        return True

    def take(self, sha: str, file: Model, fields: dict[str, Any], time: str | None) -> None:
        file.cid, file.name, file.type = fields["ipfsCID"], fields["fileName"], fields["fileType"]
        file.ban, file.removal.base = fields["banSet"], fields["moderationVotes"]
        votes = {tag: tally.votes for tag, tally in file.tags.items()}
        file.tags = {tag: Tally(n, votes.get(tag, {})) for tag, n in fields["tags"].items()}
        file.added, file.updated = ADDED, time
        self.files[sha] = file

    def vote(self, file: Model, tally: Tally, up: bool, voter: str | None) -> None:
        name, stance = voter or f"nobody {next(self.numbers)}", 1 if up else -1
        self.touch(file, tally.votes.get(name) != stance)
        tally.votes[name] = stance

    def known(self, sha: str) -> Model:
        if sha not in self.files:
            raise UnknownFile
        return self.files[sha]

    def touch(self, file: Model, is_news: bool = True) -> None:
        if is_news:
            file.updated = None


TIE: Final = "tie"
ADDED: Final = "1999-01-01T00:00:00.000000009Z"
FUTURES: Final = (
    "2999-01-01T00:00:00.000000001Z",
    "2999-01-01T01:00:00.000000001+01:00",
    "2999-01-01T00:00:00.000000002Z",
)
shas = st.sampled_from(["a", "a", "a", "b"])
tags = st.sampled_from(["LENR", "LENR", "spam"])
voters = st.sampled_from([None, None, "ada", "bo"])
cids = st.sampled_from(["bafy1", "bafy2"])
names = st.sampled_from(["", "paper.pdf", "other.pdf"])
totals_of_votes = st.integers(-3, 3)
operations = st.one_of(
    st.tuples(
        st.just("add_file"),
        shas,
        st.fixed_dictionaries({"cid": cids}, optional={"name": names, "type": names}),
    ),
    st.tuples(st.just("add_tag"), shas, tags),
    st.tuples(st.just("remove_tag"), shas, tags),
    st.tuples(st.just("vote_on_tag"), shas, tags, st.booleans(), voters),
    st.tuples(st.just("vote_for_removal"), shas, st.booleans(), voters),
    st.tuples(st.just("ban_file"), shas, st.sampled_from([0, 3, 6, 9, 4])),
    st.tuples(
        st.just("apply_gossip"),
        shas,
        st.fixed_dictionaries(
            {
                "ipfsCID": cids,
                "fileName": names,
                "fileType": names,
                "moderationVotes": totals_of_votes,
                "tags": st.dictionaries(tags, totals_of_votes),
                "banSet": st.sampled_from([0, 7]),
            }
        ),
        st.sampled_from([LONG_AGO, TIE, TIE, *FUTURES]),
    ),
)
choices = st.tuples(
    st.sampled_from(["keep", "replace"]),
    st.sampled_from(["keep", "reset"]),
    st.sampled_from(["keep", "replace"]),
)


@pytest.mark.parametrize("engine", ENGINES)
def test_random_operations_do_what_a_dict_would(
    request: pytest.FixtureRequest, engine: str, tmp_path: Path
) -> None:
    examples = settings().max_examples
    numbers = count()

    @settings(max_examples=max(5, examples // 5) if engine == "postgres" else 4 * examples)
    @given(choices, st.lists(operations, min_size=1, max_size=15))
    def compare(chosen: Any, operations: list[tuple[Any, ...]]) -> None:
        number = next(numbers)
        model = Dicts(*chosen)
        put, re_add_tag, tie = chosen
        files = MetadataStore(new, put=put, re_add_tag=re_add_tag, tie=tie)
        own = {key: sum_of(f"{number} {key}") for key in "ab"}
        for name, key, *arguments in operations:
            expected = outcome(partial(getattr(model, name), key, *arguments))
            assert outcome(partial(ask, files, name, own[key], *arguments)) == expected
            for key, sha in own.items():
                check(files.get_file(sha), sha, model.files.get(key))
        if number % 10 == 0:
            check_whole(files, own, tmp_path / "metadata.json")

    with opened(request, engine, tmp_path) as new:
        compare()


def ask(files: MetadataStore, name: str, sha: str, *arguments: Any) -> Any:
    """Ask the store for what was asked of the dict."""
    match name, arguments:
        case "add_file", [fields]:
            names = {"cid": "ipfsCID", "name": "fileName", "type": "fileType"}
            return files.add_file({"fileSHA256": sha, **{names[n]: fields[n] for n in fields}})
        case "apply_gossip", [fields, time]:
            if time == TIE:
                known = files.get_file(sha)
                time = known["lastUpdated"] if known else LATER
            times = {"lastUpdated": time, "addedAt": ADDED}
            return files.apply_gossip_update({"fileSHA256": sha, **fields, **times})
        case (("vote_on_tag" | "vote_for_removal"), [*others, voter]):
            return getattr(files, name)(sha, *others, voter=voter)
        case _:
            return getattr(files, name)(sha, *arguments)


def check(found: dict[str, Any] | None, sha: str, model: Model | None) -> None:
    """Compare one file; where this machine's clock said a time, any is right that is not told."""
    if model is None or found is None:
        assert model is None
        assert found is None
        return
    told = {"lastUpdated": model.updated, "addedAt": model.added}
    if model.updated is None:
        assert "2020" < found["lastUpdated"] < "2900"
        told["lastUpdated"] = found["lastUpdated"]
    if model.added is None:
        assert "2020" < found["addedAt"] < "2900"
        told["addedAt"] = found["addedAt"]
    assert found == {"fileSHA256": sha, **model.shown(), **told}


def check_whole(files: MetadataStore, own: dict[str, str], path: Path) -> None:
    """Compare the listing and the saved file with the files one by one, and load changes none."""
    listed = {each["fileSHA256"]: each for each in files.get_all_files()}
    known = [found for sha in own.values() if (found := files.get_file(sha))]
    assert [listed.get(sha) for sha in own.values() if sha in listed] == known
    files.save(path)
    saved = json.loads(path.read_text("utf-8"))
    assert saved == listed
    assert files.load(path).imported == 0
    assert {each["fileSHA256"]: each for each in files.get_all_files()} == listed


def outcome(ask: Callable[[], Any]) -> Any:
    """Return the answer, or the class of the error."""
    try:
        return ask()
    except Failure as error:
        return type(error)


def is_newer(time: str, updated: str | None) -> bool:
    """Tell whether `time` is after `updated`; this machine's clock is after long ago alone."""
    if updated is None:
        return time != LONG_AGO
    return times.instant(time) > times.instant(updated)


def same_instant(time: str, other: str) -> bool:
    return time != TIE and times.instant(time) == times.instant(other)


# --- what is told ------------------------------------------------------------------


def record(sha: str, **fields: Any) -> dict[str, Any]:
    """A record as PinShare writes it."""
    return {
        "fileSHA256": sha,
        "ipfsCID": "bafy1",
        "fileName": "",
        "fileType": "pdf",
        "lastUpdated": "2025-08-05T20:44:29.123456789Z",
        "addedAt": "2025-07-01T09:00:00.1Z",
        "moderationVotes": 0,
        "tags": {},
        "banSet": 0,
    } | fields


def written(tmp_path: Path, *records: dict[str, Any]) -> Path:
    """The path of a metadata.json with these records."""
    path = tmp_path / "written.json"
    documents = {each["fileSHA256"]: each for each in records}
    path.write_text(json.dumps(documents, indent=2, ensure_ascii=False), "utf-8")
    return path


def moderate(files: MetadataStore) -> None:
    files.vote_on_tag(SHA, "LENR", True)
    files.vote_for_removal(SHA, False)
    files.ban_file(SHA, 9)


def totals(files: MetadataStore) -> tuple[dict[str, int], int]:
    """The votes on the paper's tags and on its removal."""
    known = files.get_file(SHA)
    assert known is not None
    return known["tags"], known["moderationVotes"]


def exchange(nodes: list[MetadataStore]) -> list[bool]:
    """Let two nodes publish their paper, one after the other; tell who took over the other's."""
    one, other = nodes
    return [
        to.apply_gossip_update(by.get_file(SHA) or {}) for by, to in [(one, other), (other, one)]
    ]


def go_json(documents: dict[str, Any]) -> str:
    """The documents as Go writes them."""
    text = json.dumps(documents, indent=2, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def sum_of(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def opened(request: pytest.FixtureRequest, engine: str, tmp_path: Path) -> Store:
    """A new store."""
    return open_store(new_url(request, tmp_path, engine), create=True)
