"""`refold explain`, `as-of` and `drift`, and `--as-of`, as an operator uses them."""

import csv
import json
import re
import sqlite3
from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from refold.domain.errors import UnknownType
from refold.domain.file import TagAdded
from refold.domain.ports import Command, NewEvent, Write
from refold.infrastructure.codec import EVENTS
from refold.infrastructure.open import open_store
from refold.projections import file_tags
from refold.scripts import output
from refold.tests.scripts.conftest import Refold

SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
CID = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"


@pytest.fixture
def store(tmp_path: Path, refold: Refold, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with a file, tagged at 2 and voted for at 3 and 4, renamed at 5 and found."""
    address = f"sqlite:///{tmp_path}/store.db"
    monkeypatch.setenv("REFOLD_STORE", address)
    assert refold("init").code == 0
    do(refold, "file.register", cid=CID, name="paper.pdf")
    do(refold, "file.add_tag", tag="physics")
    for voter in "ada", "bo":
        do(refold, "tag_vote.cast", tag="physics", voter=voter, stance=1)
    do(refold, "file.change", name="thesis.pdf")
    assert refold("search", "thesis").code == 0
    return address


def do(refold: Refold, name: str, /, **fields: Any) -> None:
    done = refold("command", name, "--actor", "ada", stdin=json.dumps({"sha256": SHA} | fields))
    assert done.code == 0, done.err


def by_hand(address: str, statement: str) -> None:
    with sqlite3.connect(f"{address.removeprefix('sqlite:///')}-tables") as connection:
        assert connection.execute(statement).rowcount
    connection.close()


# --- explain ----------------------------------------------------------------------


def test_explain_tells_what_each_event_changed(refold: Refold, store: str) -> None:
    shown = refold("explain", "file_tags", SHA, "physics")
    document = refold("explain", "file_tags", SHA, "physics", "--json").json

    assert shown.code == 0
    lines = shown.out.splitlines()
    assert re.fullmatch("event 2, 20.*Z: file.tag_added by ada", lines[0])
    assert lines[1] == "  appears generation: 1, baseline: 0, tag_count: 0"
    assert re.fullmatch("event 4, 20.*Z: tag_vote.cast by ada", lines[4])
    assert lines[5] == "  changes tag_count: 1 -> 2"
    assert lines[-1] == "the live row is what its events make, at position 5"
    assert document["events"][2] == {
        "position": 4,
        "at": document["events"][2]["at"],
        "actor": "ada",
        "type": "tag_vote.cast",
        "row": "changes",
        "cells": {"tag_count": {"before": 1, "after": 2}},
    }
    assert (document["partition"], document["position"]) == (0, 5)
    assert (document["drifted"], document["parked"]) == (None, None)
    assert (document["compared"], document["stopped"]) == (True, None)


def test_no_escape_sequence_reaches_a_terminal(refold: Refold, store: str) -> None:
    red = "\x1b[31m"
    tagged = EVENTS.encode(TagAdded("maths", 1), json.dumps({"actor": red}).encode())
    event = NewEvent(f"file.{red}", 1, b"{}", b"{}")
    with open_store(store) as opened:
        opened.log.append([Command("older", (Write(f"file-{SHA}", None, (tagged,)),))])
        opened.folder.catch_up()
        opened.log.append([Command("red", (Write(f"file-{SHA}", None, (event,)),))])
    by_hand(store, f"INSERT INTO tag_votes_1 VALUES ('x', '{red}', 'eve', 1, 9)")

    ran = [
        refold("explain", "file_tags", SHA, "maths"),
        refold("rehearse"),
        refold("drift", "tag_votes"),
        refold("status"),
        refold("doctor"),
    ]

    assert ["x1b[31m" in each.out for each in ran] == [True] * 5
    assert not any("\x1b" in each.out for each in ran)


def test_explain_names_what_no_event_explains(refold: Refold, store: str) -> None:
    by_hand(store, "UPDATE file_tags_1 SET tag_count = 7")
    by_hand(store, "INSERT INTO tag_votes_1 VALUES ('x', 't', 'eve', 1, 9)")
    by_hand(store, "DELETE FROM tag_votes_1 WHERE voter = 'bo'")

    changed = refold("explain", "file_tags", SHA, "physics")
    document = refold("explain", "file_tags", SHA, "physics", "--json")
    unexplained = refold("explain", "tag_votes", "x", "t", "eve")
    missing = refold("explain", "tag_votes", SHA, "physics", "bo")

    said = [each.out.splitlines()[-2:] for each in (changed, unexplained, missing)]
    assert said == [
        ["DIFFERENT at position 5", "  tag_count is 7; its events make 2"],
        ["DIFFERENT at position 5", "  no event makes the row, generation 1, stance 9"],
        [
            "DIFFERENT at position 5",
            "  the row is missing that its events make, generation 1, stance 1",
        ],
    ]
    assert [each.code for each in (changed, document, unexplained, missing)] == [1, 1, 1, 1]
    assert document.json["drifted"]["cells"] == {"tag_count": {"live": 7, "folded": 2}}


def test_explain_shows_of_long_cells_where_they_differ(refold: Refold, store: str) -> None:
    do(refold, "file.change", name=f"{'a' * 100}.pdf")
    assert refold("search", "pdf").code == 0
    by_hand(store, f"UPDATE files_1 SET name = '{'a' * 99}b.pdf'")

    said = refold("explain", "files", SHA).out.splitlines()[-1]

    a = "a" * 16
    assert said == f"  name is …{a}b.pdf'; its events make …{a}a.pdf'"


@pytest.fixture
def unread(store: str) -> str:
    """The same store, whose event 6 is of a kind that this refold does not know."""
    event = NewEvent("file.from_the_future", 1, b"{}", b"{}")
    with open_store(store) as opened:
        opened.log.append([Command("future", (Write(f"file-{SHA}", None, (event,)),))])
    return store


def test_explain_stops_at_an_event_that_cannot_be_read_and_says_so(
    refold: Refold, unread: str
) -> None:
    shown = refold("explain", "file_tags", SHA, "physics")
    document = refold("explain", "file_tags", SHA, "physics", "--json")

    assert (shown.code, document.code, shown.err) == (1, 1, "")
    said = shown.out.splitlines()
    assert [line.split(",")[0] for line in said if line.startswith("event")] == [
        "event 2",
        "event 3",
        "event 4",
    ]
    assert said[-4:] == [
        "  changes tag_count: 1 -> 2",
        "STOPPED before event 6, file.from_the_future: event 6: event type",
        "    file.from_the_future with schema 1 is not known to this version of refold",
        "the live row is what its events make, at position 5",
    ]
    assert document.json["stopped"] == {
        "position": 6,
        "type": "file.from_the_future",
        "reason": "event 6: event type file.from_the_future with schema 1 is not known to this"
        " version of refold",
    }
    assert len(document.json["events"]) == 3


@pytest.mark.parametrize("key", [[SHA], [SHA, "physics", "bo"]])
def test_explain_names_the_columns_of_a_key(refold: Refold, store: str, key: list[str]) -> None:
    refused = refold("explain", "file_tags", *key)

    assert refused.code == 2
    assert "a row of file_tags has the key sha256 tag" in " ".join(refused.err.split())


def test_explain_refuses_what_it_does_not_know(refold: Refold, store: str) -> None:
    unknown = refold("explain", "file_tags", SHA, "Physics")
    table = refold("explain", "tags", SHA)

    assert unknown.sentence == (
        f"table file_tags has no row whose sha256, tag is {SHA} Physics, "
        "and no event ever touched one"
    )
    assert (unknown.code, table.code) == (1, 2)


# --- as of ------------------------------------------------------------------------


def test_as_of_writes_a_table_as_it_stood(refold: Refold, store: str) -> None:
    lines = refold("as-of", "file_tags", "3")
    rows = refold("as-of", "file_tags", "4", "--format", "csv")
    empty = refold("as-of", "file_tags", "0")

    assert (lines.code, rows.code, empty.code, empty.out) == (0, 0, 0, "")
    assert json.loads(lines.out)["tag_count"] == 1
    assert [row["tag_count"] for row in csv.DictReader(rows.out.splitlines())] == ["2"]
    assert lines.err.startswith("file_tags as of position 3, recorded at 20")


def test_as_of_takes_times(refold: Refold, store: str) -> None:
    events = refold("explain", "file_tags", SHA, "physics", "--json").json["events"]

    at = refold("as-of", "file_tags", events[1]["at"])
    before = refold("as-of", "file_tags", "2020-01-01T00:00:00+02:00")
    now = refold("as-of", "file_tags", "2999-01-01T00:00:00Z")

    assert [json.loads(each.out)["tag_count"] for each in (at, now)] == [1, 2]
    assert (before.out, before.err) == ("", "file_tags as of before the first event\n")


def test_as_of_says_when_rows_could_not_be_folded(
    refold: Refold, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def apply(key: Any, row: Any, event: Any) -> Any:
        raise ValueError("secret")

    monkeypatch.setattr(file_tags, "apply", apply)

    broken = refold("as-of", "file_tags", "3")

    assert broken.code == 1
    assert broken.err.splitlines()[-1] == (
        "refold: 1 rows of file_tags could not be folded and are not as they were"
    )


def test_as_of_keeps_a_plain_table(refold: Refold, store: str) -> None:
    kept = refold("as-of", "file_tags", "3", "--into", "tags_then")
    again = refold("as-of", "file_tags", "3", "--into", "tags_then")

    assert kept.out.startswith("1 rows of file_tags as of position 3, recorded at 20")
    assert kept.out.endswith(" are in tags_then\n")
    assert (again.code, again.sentence) == (
        1,
        "there is a table, view, index or type tags_then already",
    )
    document = refold("as-of", "file_tags", "3", "--into", "other", "--json").json
    empty = refold("as-of", "file_tags", "0", "--into", "none", "--json").json
    assert re.fullmatch("20.*Z", document.pop("recorded_at"))
    assert document == {"table": "file_tags", "into": "other", "rows": 1, "position": 3}
    assert (empty["rows"], empty["position"], empty["recorded_at"]) == (0, 0, None)
    by_hand(store, "UPDATE tags_then SET tag_count = tag_count + 1 WHERE tag_count = 1")


def test_rows_that_are_written_are_no_document(refold: Refold, store: str) -> None:
    refused = refold("as-of", "file_tags", "3", "--json")

    assert (refused.code, refused.out) == (2, "")
    assert "--json is for --into" in " ".join(refused.err.split())


def test_as_of_tells_on_a_terminal_how_far_it_is(
    refold: Refold, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = StringIO()
    monkeypatch.setattr(output, "STDERR", Console(file=screen, force_terminal=True))

    shown = refold("as-of", "file_tags", "3")

    assert json.loads(shown.out)["tag_count"] == 1
    assert "3/3" in screen.getvalue()


@pytest.mark.parametrize(
    ("when", "code", "sentence"),
    [
        ("6", 1, "position 6 is beyond the end of the log at 5"),
        ("9" * 19, 1, f"position {'9' * 19} is beyond the end of the log at 5"),
        ("9" * 5_000, 2, "a position has at most 19 digits, not 5000"),
        ("x", 2, "'x' is neither a position nor a time such as 2025-08-05T20:44:29.123Z"),
    ],
    ids=["beyond", "long", "longer", "none"],
)
def test_as_of_refuses_what_is_no_past(
    refold: Refold, store: str, when: str, code: int, sentence: str
) -> None:
    for asked in (["as-of", "files"], ["show", "file", SHA, "--as-of"], ["search", "x", "--as-of"]):
        refused = refold(*asked, when)

        assert (refused.code, refused.out) == (code, "")
        assert sentence in " ".join(refused.err.replace("│", " ").split())


def test_show_and_search_answer_as_of_a_position(refold: Refold, store: str) -> None:
    shown = refold("show", "file", SHA, "--as-of", "3", "--json").json
    found = [
        refold("search", text, *asked, "--json").json["total"]
        for text in ("paper", "thesis")
        for asked in ((), ("--as-of", "4"))
    ]
    unknown = refold("show", "file", SHA, "--as-of", "0")

    assert (shown["name"], shown["tags"]) == ("paper.pdf", {"physics": 1})
    assert found == [0, 1, 1, 0]
    assert unknown.sentence == f"no file {SHA} is known"
    assert [refold("show", what, "x", "--as-of", "5").code for what in ("user", "repo")] == [0, 0]
    assert refold("show", "push", "x", "--as-of", "5").sentence == "push x not found"


def test_help_says_that_what_was_erased_stays_erased(refold: Refold) -> None:
    for asked in (["as-of"], ["show", "file"], ["show", "user"], ["search"]):
        assert "erased since stays erased" in " ".join(refold(*asked, "--help").out.split())


# --- drift ------------------------------------------------------------------------


def test_drift_finds_none_in_a_store_that_is_well(refold: Refold, store: str) -> None:
    checked = refold("drift", "--json")

    assert checked.code == 0
    assert isinstance(checked.json["seed"], int)
    by_table = {each["table"]: each for each in checked.json["tables"]}
    assert len(by_table) == 15
    assert by_table["tag_votes"] == {
        "table": "tag_votes",
        "position": 5,
        "rows": 2,
        "parked": 0,
        "drifted": [],
        "blocked": None,
    }


def test_drift_names_what_differs_and_replays(refold: Refold, store: str) -> None:
    by_hand(store, "UPDATE file_tags_1 SET tag_count = 7")
    by_hand(store, "INSERT INTO tag_votes_1 VALUES ('x', 't', 'eve', 1, 9)")

    shown = refold("drift", "file_tags", "tag_votes", "--seed", "7")
    document = refold("drift", "file_tags", "--seed", "7", "--json")

    assert (shown.code, document.code) == (3, 3)
    assert shown.out.splitlines()[-6:] == [
        "file_tags",
        f"  {SHA} physics",
        "  tag_count is 7; its events make 2",
        "tag_votes x t eve",
        "  no event makes the row, generation 1, stance 9",
        "seed 7",
    ]
    assert document.json == {
        "seed": 7,
        "tables": [
            {
                "table": "file_tags",
                "position": 5,
                "rows": 1,
                "parked": 0,
                "drifted": [
                    {
                        "key": [SHA, "physics"],
                        "row": "changed",
                        "cells": {"tag_count": {"live": 7, "folded": 2}},
                    }
                ],
                "blocked": None,
            }
        ],
    }


def test_drift_tells_which_table_cannot_go_on_and_compares_the_others(
    refold: Refold, unread: str
) -> None:
    shown = refold("drift", "file_tags", "users")
    document = refold("drift", "file_tags", "--json")
    by_hand(unread, "INSERT INTO push_aliases_1 VALUES ('s', 'id')")
    both = refold("drift", "file_tags", "push_aliases")

    assert (shown.code, document.code, both.code, shown.err) == (1, 1, 3, "")
    lines = shown.out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["table", "users"]
    assert lines[2:4] == [
        "file_tags is not compared: event 6: event type file.from_the_future with schema",
        "    1 is not known to this version of refold",
    ]
    [table] = document.json["tables"]
    assert (table["position"], table["rows"], table["drifted"]) == (5, 0, [])
    assert table["blocked"].startswith("event 6: event type file.from_the_future")


def test_run_tells_of_drift_when_it_is_asked_to(refold: Refold, store: str) -> None:
    by_hand(store, "UPDATE file_tags_1 SET tag_count = 777")

    looked = refold("run", "--once", "--drift-seconds", "60")
    silent = refold("run", "--once")

    [line] = [json.loads(line) for line in looked.out.splitlines() if "drift" in line]
    assert line.pop("at")
    assert line == {
        "event": "drift",
        "table": "file_tags",
        "key": f"{SHA} physics",
        "row": "changed",
        "column": "tag_count",
    }
    assert "777" not in looked.out
    assert "drift" not in silent.out


def test_run_looks_for_drift_as_often_as_the_configuration_says(
    refold: Refold, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_hand(store, "UPDATE file_tags_1 SET tag_count = 777")
    Path("refold.toml").write_text("[storage]\ndrift_seconds = 60\n")
    Path("wrong.toml").write_text("[storage]\ndrift_seconds = 0\n")

    of_file = refold("run", "--once")
    of_nothing = refold("run", "--once", "--store", store)
    wrong = refold("run", "--once", "--config", "wrong.toml")
    monkeypatch.setenv("REFOLD_DRIFT_SECONDS", "60")
    of_environment = refold("run", "--once", "--store", store)

    looked = [of_file, of_nothing, of_environment]
    assert [each.code for each in (*looked, wrong)] == [0, 0, 0, 1]
    assert ['"drift"' in each.out for each in looked] == [True, False, True]
    assert wrong.sentence == (
        "wrong.toml: storage.drift_seconds: Input should be greater than or equal to 1"
    )


# --- eighty columns ---------------------------------------------------------------

TAG, VOTER, ACTOR, NAME = "t" * 120, "v" * 130, "actor-" * 20, "a name of many words " * 10
WHY = "the database refuses its row: StringDataRightTruncation"


@pytest.fixture
def long(refold: Refold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store with names that no line of 80 columns holds, at an address like that."""
    folder = tmp_path / ("a-folder-with-a-long-name-" * 3)
    folder.mkdir()
    address = f"sqlite:///{folder}/store.db"
    monkeypatch.setenv("REFOLD_STORE", address)
    refold("init")
    commands: list[tuple[str, dict[str, Any]]] = [
        ("file.register", {"cid": CID, "name": NAME}),
        ("file.add_tag", {"tag": TAG}),
        ("tag_vote.cast", {"tag": TAG, "voter": VOTER, "stance": 1}),
        ("file.change", {"name": f"{NAME}again"}),
    ]
    for name, fields in commands:
        said = json.dumps({"sha256": SHA} | fields)
        assert refold("command", name, "--actor", ACTOR, stdin=said).code == 0
    assert refold("search", "words").code == 0
    return address


def broken(address: str) -> None:
    """Break a store in each way that a table may be broken."""
    event = NewEvent("file.from_a_future_that_is_far_away", 1, b"{}", b"{}")
    with open_store(address) as opened:
        opened.log.append([Command("future", (Write(f"file-{SHA}", None, (event,)),))])
        with suppress(UnknownType):
            opened.folder.catch_up()
    name = NAME.replace("words", "forgeries")
    by_hand(
        address,
        f"UPDATE files_1 SET name = '{name}', cid = '{'c' * 200}', added_at = '{name[:25]}'",
    )
    by_hand(address, "DELETE FROM tag_votes_1")
    by_hand(address, "INSERT INTO media_1 VALUES ('m', 'h', NULL, NULL, 1, 't', 'u', 'now')")
    for position in range(2, 9):
        key = json.dumps([SHA, TAG if position == 2 else "t" * position])
        parked = f"'file_tags', 1, '{key}', {position}, '{WHY}', 0"
        by_hand(address, f"INSERT INTO parked VALUES ({parked})")


def test_what_operators_read_has_80_columns_but_for_long_values(refold: Refold, long: str) -> None:
    well = [["doctor"], ["status"], ["rehearse"], ["explain", "files", SHA]]
    printed = [refold(*task) for task in well]
    broken(long)
    ill = [
        ["status"],
        ["doctor"],
        ["rehearse"],
        ["drift", "tag_votes", "media"],
        ["explain", "files", SHA],
        ["explain", "file_tags", SHA, TAG],
        ["explain", "tag_votes", SHA, TAG, VOTER],
        ["rebuild", "tag_votes", "media", "--no-switch"],
    ]
    printed += [refold(*task) for task in ill]

    assert [each.code for each in printed] == [0, 0, 0, 0, 1, 1, 3, 3, 1, 1, 1, 3]
    for line in "".join(each.out for each in printed).splitlines():
        own = line
        for value in (long, TAG, VOTER, ACTOR, SHA):
            own = own.replace(value, "")
        assert len(own.rstrip()) <= 80, line
