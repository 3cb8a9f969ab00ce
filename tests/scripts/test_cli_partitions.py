"""A store of several partitions, and a log that is numbered anew, on the command line."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from refold.domain import streams
from refold.domain.ports import Command, NewEvent, Write
from refold.infrastructure.open import open_store
from refold.tests.scripts.conftest import Refold

SMALL = Path(__file__).parents[2] / "scripts" / "demo-data" / "metadata.small.json"
SHA = "fdf4ed942d8363af9d685649be0ce017ac9c1938b047c0c9a5bf9b67c437b82c"


def test_a_store_of_four_partitions_does_all_that_one_of_one_does(
    refold: Refold, tmp_path: Path
) -> None:
    (tmp_path / "refold.toml").write_text(
        '[storage]\nbackend = "sqlite"\ndatabase_path = "store.db"\npartitions = 4\n'
    )
    assert refold("init").code == 0
    imported = refold("import", "pinshare", SMALL)
    assert imported.out.startswith("202 records: 202 imported, 0 unchanged, 0 refused")
    vote = {"sha256": SHA, "tag": "reviewed", "voter": "ada", "stance": 1}
    done = refold("command", "tag_vote.cast", "--json", stdin=json.dumps(vote)).json
    status = refold("status", "--json").json

    heads = [each["position"] for each in status["partitions"]]
    assert len(heads) == 4
    assert sum(heads) == 204  # the tag comes with its first vote
    assert min(heads) > 0
    assert done["position"] == heads[done["partition"]]
    where = ",".join(f"{number}:{head}" for number, head in enumerate(heads))
    heads[done["partition"]] -= 2
    before = ",".join(f"{number}:{head}" for number, head in enumerate(heads))

    assert (
        refold("search", "python3").out.splitlines()[-1]
        == "2 of 19"[:0] + refold("search", "python3", "--as-of", where).out.splitlines()[-1]
    )
    assert "reviewed" in refold("show", "file", SHA).out
    assert "reviewed" not in refold("show", "file", SHA, "--as-of", before).out
    assert refold("doctor").out.endswith(f"up to position {where}\n")
    assert refold("verify", "sqlite:///store.db").out.splitlines()[0].endswith(where)
    assert {each["position"] for each in refold("drift", "--json").json["tables"]} == {where}
    assert refold("explain", "files", SHA).code == 0
    assert refold("rebuild", "--all").code == 0
    assert refold("seal", "--anchor", "a.anchor").out.count("anchored at position") == 4
    assert refold("verify", "sqlite:///store.db", "--anchor", "a.anchor").out == "equal\n"
    assert refold("status").out.count(where) >= 1
    refused = refold("search", "x", "--as-of", "12")
    assert refused.code == 2
    assert "'12' has to name each partition of this log once: 0:POS" in " ".join(
        refused.err.split()
    )
    refused = refold("copy", "sqlite:///store.db", "archive:backup.zst")
    assert "an archive is of a log with one partition, and " in refused.sentence


def test_positions_are_told_with_their_partition(refold: Refold) -> None:
    address = "sqlite:///store.db"
    open_store(address, create=True, partitions=4).close()
    assert refold("import", "pinshare", SMALL, "--store", address).code == 0
    home = streams.partition(f"file-{SHA}", 4)
    with open_store(address) as store:
        store.folder.catch_up()
        end = store.log.heads()[home].position
        event = NewEvent("file.from_the_future", 1, b"{}", b"{}")
        store.log.append([Command("future", (Write(f"file-{SHA}", None, (event,)),))])
    with closing(sqlite3.connect("store.db-tables")) as connection:
        parked = ("files", 1, json.dumps([SHA]), end, "KeyError", 0)
        connection.execute("INSERT INTO parked VALUES (?, ?, ?, ?, ?, ?)", parked)
        connection.commit()
    here, there = f"{home}:{end}", f"{home}:{end + 1}"

    def said(*words: str) -> str:
        return " ".join(refold(*words, "--store", address).out.split())

    def document(*words: str) -> Any:
        return refold(*words, "--json", "--store", address).json

    explained, rehearsed = document("explain", "files", SHA), document("rehearse", "files")
    [of_files] = [each for each in document("status")["projections"] if each["parked"]]

    assert home
    assert f"parked at event {here}: KeyError" in said("explain", "files", SHA)
    assert f"STOPPED before event {there}, file.from" in said("explain", "files", SHA)
    assert f"at position {here}" in said("explain", "file_tags", SHA, "role::program")
    assert (explained["partition"], explained["stopped"]["position"]) == (home, end + 1)
    assert f"at event {here}, since" in said("status")
    assert [(each["partition"], each["position"]) for each in of_files["parked_rows"]] == [
        (home, end)
    ]
    assert f"event {there}, file.from_the_future" in said("rehearse", "files")
    [unread] = rehearsed["unreadable"]
    assert (unread["partition"], unread["position"]) == (home, end + 1)
    assert f"the first one at event {here}: KeyError" in said("doctor")


def test_what_was_changed_in_the_last_partition_is_found(refold: Refold, tmp_path: Path) -> None:
    (tmp_path / "refold.toml").write_text(
        '[storage]\nbackend = "sqlite"\ndatabase_path = "store.db"\npartitions = 2\n'
    )
    assert refold("import", "pinshare", SMALL).code == 0
    assert refold("seal", "--anchor", "a.anchor").code == 0
    with closing(sqlite3.connect("store.db")) as connection:
        connection.execute("DROP TRIGGER events_are_not_updated")
        connection.execute("UPDATE events SET metadata = X'7B7D' WHERE place = (1 << 48) + 9")
        connection.execute("DROP TRIGGER events_are_not_deleted")
        connection.execute("DELETE FROM events WHERE partition = 0 AND position = 5")
        connection.commit()

    found = refold("doctor", "--json").json["findings"]
    anchored = refold("verify", "sqlite:///store.db", "--anchor", "a.anchor")

    assert "event 0:5 is missing" in [each["what"] for each in found if each["check"] == "holes"]
    assert anchored.code == 3
    assert anchored.out.splitlines()[0].startswith("difference: partition 0 is damaged between")
    assert anchored.out.splitlines()[1].startswith("difference: the log differs at position ")


def test_a_log_is_numbered_anew(refold: Refold) -> None:
    first, second, third = (f"sqlite:///{name}.db" for name in "abc")
    assert refold("import", "pinshare", SMALL, "--store", first).code == 0

    moved = refold("move", first, second, "--partitions", "3", "--json").json
    copied = refold("copy", second, third)
    checked = refold("verify", third, "--certificate", "b.db-certificate.json")

    assert moved["equal"]
    assert [each["partition"] for each in moved["partitions"]] == [0, 1, 2]
    assert sum(each["position"] for each in moved["partitions"]) == 202
    assert moved["renumbered_from"]["partitions"][0]["position"] == 202
    assert moved["renumbered_from"]["families"] == 202
    assert {each["compared"] for each in moved["tables"]} == {True}
    assert copied.out.splitlines()[-1] == "equal"
    assert checked.out == "equal\n"
    assert refold("status", "--store", first).out.splitlines()[1].endswith(": sealed")
    refused = refold("move", first, second, "--partitions", "3")
    assert "b.db already; refold verify sqlite:///" in refused.sentence
    assert refold("move", second, third, "--partitions", "3", "--follow").code == 2
    refused = refold("copy", second, first)
    assert "has 1 partitions, not 3, and keeps them" in refused.sentence
