"""Pushes end to end: what git-proxy stored comes back, is listed, and is decided about."""

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from refold.domain import push
from refold.domain.errors import BadInput, Claimed, Conflict
from refold.domain.ports import Command, Write
from refold.domain.push import UnknownPush
from refold.infrastructure import commands
from refold.infrastructure.commands import Done
from refold.infrastructure.folding.generations import CURRENT
from refold.infrastructure.moving.copying import copy
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.push_documents import LONGEST, same
from refold.infrastructure.services.pushes import (
    PushActivity,
    list_pushes,
    list_pushes_of_user,
    push_activity,
    show_push,
)
from refold.infrastructure.store import Store
from refold.projections import pushes

SAMPLE = Path(__file__).parents[2] / "data" / "git-proxy" / "pushes.mongo.json"
ATTESTATION = {"reviewer": {"username": "carol"}, "answers": []}
REJECTION = {"reviewer": {"username": "dan"}, "reason": "no"}
TIME = "2026-08-02T10:00:00.000Z"
NUMBERS = count()


# --- documents --------------------------------------------------------------------


def test_what_git_proxy_stored_comes_back(store: Store) -> None:
    stored = sample()

    for document in stored:
        run(store, "push.record", document=document)

    for document in stored:
        del document["_id"]
        assert same(show_push(store, document["id"]), document)
    listed = list_pushes(store, {})
    by_id = {document["id"]: document for document in stored}
    assert {each["id"] for each in listed} == by_id.keys()
    for each in listed:
        document = by_id[each["id"]]
        assert same(each, {name: document[name] for name in each})
        assert {"type", "url", "user", "tags", "tagData"} & document.keys() <= each.keys()


def test_bytes_that_are_no_text_come_back(store: Store) -> None:
    odd = waiting("odd") | {"steps": [{"logs": ["\0PACK\ud800", "\u2028"]}], "branch": "\0\udfff"}
    odd |= {"k\0\ud800": 2**64, "small": -0.0, "time": 1e22}

    run(store, "push.record", document=odd)

    assert same(show_push(store, "odd"), odd)
    assert same(list_pushes(store, {})[0]["branch"], odd["branch"])
    assert [each["id"] for each in list_pushes(store, {"branch": "\0\udfff"})] == ["odd"]
    assert list_pushes(store, {"branch": "\u2400\ufffd"}) == []


def test_big_strings_come_back_from_their_blobs(store: Store) -> None:
    big, bigger = "diff\ud800" * LONGEST, "x" * 1_000_000
    document = waiting("big") | {
        "steps": [{"content": big, "logs": [f"diff - {big}"]}],
        "lastStep": {"content": big},
        "message": bigger,
    }

    run(store, "push.record", document=document)
    run(store, "push.reject", id="big", rejection={"reason": bigger})

    rejected = document | {"rejected": True, "rejection": {"reason": bigger}}
    assert show_push(store, "big") == rejected
    assert max(len(record.data) for record in store.log.page(0, 0, 9)) < 2_000
    [listed] = list_pushes(store, {"message": bigger, "lastStep": {"content": big}})
    assert listed["id"] == "big"
    assert not listed.keys() & {"message", "rejection", "steps", "lastStep"}
    assert list_pushes(store, {"message": bigger + "x"}) == []
    assert list_pushes(store, {"message": None}) == []
    assert len(list(store.blobs.list())) == 3


def test_large_lists_come_back_from_their_blobs(store: Store) -> None:
    logs = [f"diff - +line {n}\u2028" for n in range(60_000)]
    step = {"stepName": "diff", "logs": logs, "content": None}
    commits = [{"sha": "a" * 40, "message": f"fix {n}", "parents": []} for n in range(20_000)]
    document = waiting("big") | {"steps": [step], "lastStep": step, "commitData": commits}
    answers = [{"label": f"question {n}", "checked": True} for n in range(40_000)]
    attestation = {"reviewer": {"username": "Carol"}, "timestamp": TIME, "answers": answers}

    run(store, "push.record", document=document)
    run(store, "push.authorise", id="big", attestation=attestation)

    whole = document | {"authorised": True, "attestation": attestation}
    assert show_push(store, "big") == whole
    assert max(len(record.data) for record in store.log.page(0, 0, 9)) < 2_000
    [listed] = list_pushes(store, {"commitData": commits, "attestation": attestation})
    assert listed["id"] == "big"
    assert not listed.keys() & {"steps", "lastStep", "commitData", "attestation"}
    assert list_pushes(store, {"commitData": commits[1:]}) == []
    assert list_pushes(store, {"commitData": []}) == []
    assert [each["id"] for each in list_pushes_of_user(store, "carol")] == ["big"]
    assert len(list(store.blobs.list())) == 3


def test_an_event_that_holds_a_large_list_itself_is_read_as_before(store: Store) -> None:
    logs = ["diff - +line"] * 20_000
    document = waiting("old") | {"steps": [{"logs": logs, "content": None}]}
    digest = store.blobs.put([b"content"]).sha256
    old = push.Recorded("old", document, {"/steps/0/content": digest})
    event = store.codec.encode(old, b'{"actor":"tests"}')
    store.log.append([Command("old", (Write("push-old", 0, (event,)),))])

    shown = show_push(store, "old")

    assert shown == waiting("old") | {"steps": [{"logs": logs, "content": "content"}]}
    assert [each["id"] for each in list_pushes(store)] == ["old"]


def test_a_large_list_is_found_in_older_events_too(store: Store) -> None:
    tags = [f"v{n}" for n in range(20_000)]
    old = push.Recorded("old", waiting("old") | {"tags": tags}, {})
    event = store.codec.encode(old, b'{"actor":"tests"}')
    store.log.append([Command("old", (Write("push-old", 0, (event,)),))])
    run(store, "push.record", document=waiting("new") | {"tags": tags})

    found = [each["id"] for each in list_pushes(store, {"tags": tags})]

    assert sorted(found) == ["new", "old"]


def test_of_a_document_that_is_replaced_by_the_stored_one_no_blob_is_kept(memory: Store) -> None:
    run(memory, "push.record", document=waiting("a"))
    run(memory, "push.authorise", id="a")

    run(memory, "push.record", document=waiting("a") | {"diff": "x" * 10_000})

    assert list(memory.blobs.list()) == []
    assert show_push(memory, "a")["allowPush"] is True


# --- listing ----------------------------------------------------------------------


def test_a_listing_is_newest_first_and_by_id_where_times_are_the_same(store: Store) -> None:
    times: dict[str, object] = {
        "c": 7, "b": 7, "B": 7.0, "late": 7.5, "later": 7.625, "big": 1787424963609.5,
        "before": -1, "missing": ..., "null": None, "text": "9", "true": True, "never": 1e300,
        "é": 7,
    }  # fmt: skip
    for id, time in times.items():
        timed = {} if time is ... else {"timestamp": time}
        run(store, "push.record", document=waiting(id) | timed)

    listed = [each["id"] for each in list_pushes(store)]

    assert listed == [
        *("big", "later", "late", "B", "b", "c", "é", "before"),
        *("missing", "never", "null", "text", "true"),
    ]
    assert [each["id"] for each in list_pushes(store, limit=3, offset=2)] == listed[2:5]
    assert [each["id"] for each in list_pushes(store, {"odd": 1}, limit=3, offset=2)] == []
    assert [each["id"] for each in list_pushes(store, {"repo": "r"}, limit=3, offset=2)] == (
        listed[2:5]
    )
    assert list_pushes(store, limit=0) == []


def test_without_a_query_the_pushes_that_wait_are_listed(store: Store) -> None:
    told: dict[str, dict[str, Any]] = {
        "waits": {},
        "fails": {"error": True},
        "goes": {"blocked": False},
        "let through": {"allowPush": True},
        "approved": {"authorised": True},
        "rejected": {"rejected": True},
        "pull": {"type": "pull"},
        "default": {"type": "default"},
    }
    for id, fields in told.items():
        run(store, "push.record", document=waiting(id) | fields)

    assert [each["id"] for each in list_pushes(store)] == ["rejected", "waits"]
    assert len(list_pushes(store, {})) == 8


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"type": "pull"}, ["b"]),
        ({"authorised": True}, ["a"]),
        ({"authorised": 1}, []),
        ({"user": "bob", "project": "p"}, ["a", "b"]),
        ({"project": "P"}, []),
        ({"userEmail": "Bob@Example.com"}, ["a"]),
        ({"userEmail": "bob@example.com"}, []),
        ({"timestamp": 7}, ["a"]),
        ({"timestamp": 7.0, "type": "push"}, ["a"]),
        ({"unknown": [1, {"x": None}]}, ["a"]),
        ({"unknown": [True, {"x": None}]}, []),
        ({"unknown": "x"}, ["b"]),
        ({"steps": []}, ["a", "b"]),
        ({"attestation": None}, ["b"]),
        ({"nobody has it": None}, []),
        ({"commitTo": "~x"}, ["b"]),
    ],
)
def test_any_field_of_the_document_may_be_asked_for(
    memory: Store, query: dict[str, object], ids: list[str]
) -> None:
    both = {"user": "bob", "project": "p"}
    run(memory, "push.record", document=waiting("a") | both | {
        "timestamp": 7, "authorised": True, "userEmail": "Bob@Example.com",
        "unknown": [1, {"x": None}],
    })  # fmt: skip
    run(memory, "push.record", document=waiting("b") | both | {
        "type": "pull", "timestamp": None, "unknown": "x", "attestation": None, "commitTo": "~x",
    })  # fmt: skip

    assert sorted(each["id"] for each in list_pushes(memory, query)) == ids


def test_a_listing_is_small_whatever_a_document_holds(store: Store) -> None:
    line = "+" * LONGEST
    for n in range(3):
        fat = {"content": line, "logs": [line] * 15}
        fields = {"steps": [fat] * 5, "lastStep": fat, "unknown": line, "errorMessage": line}
        fields |= {"blockedMessage": "\0" * 400, "url": "u" * 5_000, "userEmail": "É" * 4_000}
        fields |= {"commitData": [{"message": "é" * 100}] * (n * 10), "tags": ["v1"]}
        document = waiting("🙂" * 255 + str(n)) | fields | {"type": "t" * 3_000 if n else "push"}
        run(store, "push.record", document=document)

    listed = list_pushes(store, {})

    assert len(listed) == 3
    for each in listed:
        assert len(json.dumps(each, ensure_ascii=False).encode()) < 2_000
        assert not each.keys() & {"steps", "lastStep", "unknown", "errorMessage", "url"}
        assert each["tags"] == ["v1"]
    assert [each.get("commitData") for each in sorted(listed, key=lambda each: each["id"])] == (
        [[], None, None]
    )


def test_a_listing_reads_no_document(store: Store) -> None:
    run(store, "push.record", document=waiting("a") | {"project": "p"})
    list_pushes(store)
    with store.tables.writing(CURRENT) as connection:
        table = store.tables.current(connection)["pushes"].table
        connection.execute(table.update().values(document="spoilt", blobs="spoilt"))

    assert [each["id"] for each in list_pushes(store)] == ["a"]
    assert [each["id"] for each in list_pushes(store, {"project": "p"})] == ["a"]
    with pytest.raises(ValueError, match="Expecting value"):
        list_pushes(store, {"steps": []})


# --- activity ---------------------------------------------------------------------


def test_the_pushes_of_somebody_are_those_made_or_reviewed(store: Store) -> None:
    for id, email in [("made", "Bob@Example.com"), ("reviewed", "x@y.z"), ("neither", "x@y.z")]:
        run(store, "push.record", document={**waiting(id), "userEmail": email})
    run(store, "push.authorise", id="reviewed", attestation={"reviewer": {"username": "BOB"}})

    found = list_pushes_of_user(store, "bob", ["bob@example.com"])

    assert sorted(each["id"] for each in found) == ["made", "reviewed"]
    assert list_pushes_of_user(store, "nobody") == []


def test_a_blob_that_is_damaged_at_the_target_is_put_again_by_the_next_copy(
    tmp_path: Path,
) -> None:
    urls = [f"sqlite:///{tmp_path / name}" for name in ("source", "target")]
    with open_store(urls[0], create=True) as source, open_store(urls[1], create=True) as target:
        run(source, "push.record", document={**waiting("big"), "diff": "x" * (LONGEST + 1)})
        copy(source, target)
        [blob] = target.blobs.list()
        file = tmp_path / "target-blobs" / blob.sha256[:2] / blob.sha256
        file.write_bytes(b"other")

        damaged = verify(target)
        again = copy(source, target)

        assert (damaged.ok, damaged.blobs.damaged) == (False, (blob.sha256,))
        assert again.equal
        assert verify(target).ok
        assert len(show_push(target, "big")["diff"]) == LONGEST + 1


def test_the_activity_of_a_repository_is_counted_by_its_canonical_url(store: Store) -> None:
    http, ssh = "https://Host:8443/Finos/Demo.git", "git@other:x/y.git/"
    told: dict[str, dict[str, Any]] = {
        "1": {"url": http, "timestamp": 5.5},
        "2": {"url": "https://u:p@host:8443/finos/demo/", "timestamp": 4},
        "3": {"url": http, "timestamp": 9, "authorised": True},
        "4": {"url": http, "error": True, "rejected": True},
        "5": {"url": http, "rejected": True, "canceled": True, "timestamp": None},
        "6": {"url": http, "canceled": True, "timestamp": "99"},
        "7": {"url": http, "type": "default", "timestamp": 100},
        "8": {"url": ssh, "allowPush": True, "blocked": False},
        "9": {"url": None},
    }
    for id, fields in told.items():
        run(store, "push.record", document=waiting(id) | fields)
    expected = [
        PushActivity("", 1, 0, 0, 0, 0, None, None),
        PushActivity("host:8443/finos/demo", 2, 1, 1, 1, 1, 9, 5.5),
        PushActivity("other/x/y", 0, 1, 0, 0, 0, None, None),
    ]
    assert push_activity(store) == expected

    run(store, "push.delete", id="9")
    run(store, "push.cancel", id="1")
    run(store, "push.record", document=waiting("8") | {"url": http, "timestamp": 7})
    store.rebuilder.rebuild([pushes])
    store.rebuilder.rebuild([pushes])

    assert push_activity(store, after=None) == [
        PushActivity("host:8443/finos/demo", 2, 1, 2, 1, 1, 9, 7)
    ]


def test_the_activity_in_the_sample_is_what_it_was_counted_to_be(memory: Store) -> None:
    for document in sample():
        run(memory, "push.record", document=document)

    found = {each.canonical_url: each for each in push_activity(memory)}

    assert found["github.com/finos/demo"] == PushActivity(
        "github.com/finos/demo", 6, 0, 0, 0, 1, 1787424963609, 1787424963609
    )
    assert found.keys() == {
        f"github.com/{name}"
        for name in ("cratis/chronicle", "encode/httpx", "eventuous/eventuous",
                     "finos/demo", "finos/git-proxy")
    }  # fmt: skip


# --- decisions --------------------------------------------------------------------


def test_of_two_reviewers_the_second_is_told_that_the_first_decided(store: Store) -> None:
    seen = run(store, "push.record", document=waiting("a")).version

    first = run(store, "push.authorise", expected=seen, id="a", attestation=ATTESTATION)
    with pytest.raises(Conflict, match="push-a is at version 2, not 1"):
        run(store, "push.reject", expected=seen, id="a", rejection=REJECTION)

    assert [record.type for record in store.log.stream("push-a")] == [
        "push.recorded",
        "push.authorised",
    ]
    assert show_push(store, "a") == waiting("a") | {"authorised": True, "attestation": ATTESTATION}
    again = run(store, "push.reject", expected=first.version, id="a", rejection=REJECTION)
    assert again.version == 3
    assert show_push(store, "a") == waiting("a") | {
        "rejected": True, "attestation": ATTESTATION, "rejection": REJECTION,
    }  # fmt: skip


def test_reviewers_who_saw_nothing_are_all_kept(store: Store) -> None:
    run(store, "push.record", document=waiting("a"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run(store, "push.authorise", id="a", attestation={"n": n}),
                      range(16)))  # fmt: skip

    values: list[Any] = [event.value for event in store.history("push-a")[1:]]
    assert sorted(value.attestation["n"] for value in values) == list(range(16))
    assert show_push(store, "a")["attestation"] == values[-1].attestation


def test_a_push_that_many_audit_first_is_one_push(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: run(store, "push.record", document=waiting("a") | {"n": n}),
                      range(16)))  # fmt: skip

    types = [record.type for record in store.log.stream("push-a")]
    assert types == ["push.recorded"] + ["push.rerecorded"] * 15
    assert len(list_pushes(store)) == 1


def test_a_push_can_be_decided_about_in_every_order(memory: Store) -> None:
    run(memory, "push.record", document=waiting("a"))

    run(memory, "push.cancel", id="a")
    run(memory, "push.authorise", id="a", attestation=ATTESTATION)
    run(memory, "push.reject", id="a", rejection=REJECTION)
    run(memory, "push.authorise", id="a")

    assert show_push(memory, "a") == waiting("a") | {"authorised": True, "rejection": REJECTION}
    assert memory.log.heads()[0].position == 5


def test_a_decision_asked_for_twice_is_made_once(memory: Store) -> None:
    run(memory, "push.record", command_id="audit", document=waiting("a"))
    first = run(memory, "push.cancel", command_id="mine", id="a")

    again = run(memory, "push.cancel", command_id="mine", id="a")

    assert (first.outcome, again.outcome, again.position) == ("appended", "duplicate", 2)
    assert run(memory, "push.record", command_id="audit", document=waiting("a")).position == 1


# --- ids --------------------------------------------------------------------------


def test_a_rekeyed_push_is_found_by_both_ids(store: Store) -> None:
    run(store, "push.record", document=waiting("old"))

    run(store, "push.rekey", id="old", new_id="new")
    run(store, "push.authorise", id="new", attestation=ATTESTATION)
    run(store, "push.record", document=waiting("new") | {"blocked": False})
    run(store, "push.cancel", id="old")

    expected = waiting("new") | {
        "legacyId": "old", "blocked": False, "allowPush": True, "canceled": True,
        "attestation": ATTESTATION,
    }  # fmt: skip
    assert show_push(store, "old") == show_push(store, "new") == expected
    assert [each["id"] for each in list_pushes(store, {})] == ["new"]
    assert aliases(store) == [("push-old", "new"), ("push-old", "old")]
    assert store.log.holder("push id", "new") == "push-old"


def test_no_push_gets_the_id_of_another(store: Store) -> None:
    run(store, "push.record", document=waiting("a"))
    run(store, "push.record", document=waiting("b"))
    run(store, "push.rekey", id="a", new_id="c")
    run(store, "push.delete", id="b")
    run(store, "push.record", document=waiting("d"))

    for taken in ("a", "b", "c"):
        with pytest.raises(Claimed, match=r"this push id is already taken by push-[ab]$"):
            run(store, "push.rekey", id="d", new_id=taken)

    assert show_push(store, "d") == waiting("d")


def test_a_deleted_push_is_gone_under_all_its_ids_until_it_is_recorded_again(
    store: Store,
) -> None:
    run(store, "push.record", document=waiting("old"))
    run(store, "push.rekey", id="old", new_id="new")

    done = run(store, "push.delete", command_id="del", id="new")

    for id in ("old", "new"):
        with pytest.raises(UnknownPush, match=f"^push {id} not found$"):
            show_push(store, id)
        with pytest.raises(UnknownPush, match=f"^push {id} not found$"):
            run(store, "push.cancel", id=id)
    assert list_pushes(store, {}) == []
    assert run(store, "push.delete", id="old").outcome == "unchanged"
    assert run(store, "push.delete", command_id="del", id="new").position == done.position
    run(store, "push.record", document=waiting("new"))
    assert show_push(store, "old") == waiting("new")


def test_a_push_that_never_was_can_be_deleted(memory: Store) -> None:
    assert run(memory, "push.delete", id="a") == Done("unchanged", "push-a", 0, 0)


def test_ids_may_hold_what_stream_names_encode(memory: Store) -> None:
    for id in ("a/b%c", "~a", "é" * 200, "push id with 'quotes'"):
        run(memory, "push.record", document=waiting(id))
        assert show_push(memory, id) == waiting(id)

    assert len(list_pushes(memory)) == 4


@pytest.mark.parametrize(
    ("command", "fields", "why"),
    [
        ("push.record", {"document": []}, "push.record: document: Input should be a valid dict"),
        ("push.record", {"document": {"id": 7}}, "Invalid id: 7 is not a text"),
        ("push.record", {"document": {}}, "Invalid id: None is not a text"),
        ("push.cancel", {"id": 7}, "push.cancel: id: Input should be a valid string"),
        ("push.cancel", {}, "push.cancel: id: Field required"),
        ("push.reject", {"id": "a"}, "push.reject: rejection: Field required"),
        ("push.reject", {"id": "a", "rejection": "no"}, "push.reject: rejection: Input should be"),
        ("push.authorise", {"id": "a", "by": "x"}, "push.authorise: by: Extra inputs are not"),
        ("push.rekey", {"id": "a", "new_id": None}, "push.rekey: new_id: Input should be"),
    ],
)
def test_a_malformed_field_is_named(
    memory: Store, command: str, fields: dict[str, Any], why: str
) -> None:
    with pytest.raises(BadInput, match=f"^{why}"):
        run(memory, command, **fields)

    assert memory.log.heads()[0].position == 0


def waiting(id: str) -> dict[str, Any]:
    """A push that waits for a review."""
    return {
        "id": id, "type": "push", "method": "POST", "repo": "r", "steps": [], "error": False,
        "blocked": True, "allowPush": False, "authorised": False, "canceled": False,
        "rejected": False,
    }  # fmt: skip


def sample() -> list[dict[str, Any]]:
    """Documents as git-proxy stored them in MongoDB."""
    return [json.loads(line) for line in SAMPLE.read_text(encoding="utf-8").strip().split("\n")]


def run(
    store: Store,
    command: str,
    /,
    *,
    command_id: str = "",
    expected: int | None = None,
    **fields: Any,
) -> Done:
    return commands.run(
        store,
        command,
        fields,
        command_id=command_id or f"p{next(NUMBERS)}",
        actor="tester",
        expected=expected,
    )


def aliases(store: Store) -> list[tuple[str, str]]:
    with store.tables.reading() as connection:
        table = store.tables.current(connection)["push_aliases"].table
        rows = connection.execute(sa.select(table.c.stream, table.c.id).order_by(table.c.id))
        return [(stream, id) for stream, id in rows]
