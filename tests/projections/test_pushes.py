"""The tables of pushes: by every way the same rows, and the rows what the log says."""

import json
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import push
from refold.domain.errors import Refused
from refold.domain.ports import Event, Recorded
from refold.infrastructure import commands
from refold.infrastructure.open import open_store
from refold.infrastructure.services.pushes import list_pushes, show_push
from refold.infrastructure.store import Store
from refold.projections import push_aliases, pushes
from refold.projections.projection import Projection
from refold.tests.projections.folds import asked, rows, rows_by_family

pytestmark = pytest.mark.usefixtures("small_pages")

BOTH: tuple[Projection, ...] = (pushes, push_aliases)


# --- the same rows by every way ---------------------------------------------------

ID = st.sampled_from(["a", "a", "b", "c/%"])
ODD = st.sampled_from([None, True, 0, 7.5, 2**64, "", "nul\0", "half \ud800", "x" * 9_000, ["y"]])
FLAG = st.booleans() | ODD
DOCUMENT = st.fixed_dictionaries(
    {"id": ID, "type": st.sampled_from(["push", "push", "default"])},
    optional={
        "error": FLAG,
        "blocked": FLAG,
        "authorised": FLAG,
        "rejected": FLAG,
        "timestamp": st.integers(-3, 3) | ODD,
        "url": st.sampled_from(["https://H/p.git", "git@h:p"]) | ODD,
        "userEmail": ODD,
        "attestation": ODD | st.fixed_dictionaries({"reviewer": st.just({"username": "Dan"})}),
        "un/known~": st.lists(ODD, max_size=2),
        "_id": ODD,
    },
)
PAYLOAD = st.dictionaries(st.sampled_from(["reason", "/"]), ODD, max_size=2)


STEPS = st.one_of(
    asked("push.record", document=DOCUMENT),
    asked("push.record", document=DOCUMENT),
    asked("push.authorise", id=ID),
    asked("push.authorise", id=ID, attestation=PAYLOAD),
    asked("push.reject", id=ID, rejection=PAYLOAD),
    asked("push.cancel", id=ID),
    asked("push.rekey", id=ID, new_id=ID),
    asked("push.delete", id=ID),
    st.tuples(st.just("fold"), st.none()),
)


@given(st.lists(STEPS, min_size=5, max_size=30))
def test_tables_views_and_folds_by_family_say_the_same(steps: list[tuple[str, Any]]) -> None:
    with open_store("memory:") as store:
        take(store, [("push.record", {"document": {"id": "a", "type": "push"}}), *steps])
        store.folder.catch_up()
        live = rows(store, BOTH)

        rebuilt = store.rebuilder.rebuild(BOTH)

        assert rows(store, BOTH) == live == rows_by_family(store, BOTH)
        assert all(each.is_equal for each in rebuilt)
        assert_rows_are_views(store)
        assert_every_id_leads_to_its_push(store)


def take(store: Store, steps: list[tuple[str, Any]]) -> None:
    numbers = count()
    for name, data in steps:
        if name == "fold":
            store.folder.catch_up()
        else:
            with suppress(Refused):  # the push may be unknown, the id another's
                commands.run(store, name, data, command_id=f"{next(numbers)}", actor="ada")


def assert_rows_are_views(store: Store) -> None:
    """A row holds the fold of its stream; what is listed is a part of what is shown."""
    found = {key[0]: pushes.Row._make(row) for key, row in rows(store, BOTH)["pushes"].items()}
    for stream in {key[0] for key in rows(store, BOTH)["push_aliases"]}:
        events: Any = [event.value for event in store.history(stream)]
        view = push.view(events)
        assert (view is not None) == (stream in found)
        if view is not None:
            assert pushes.view_of(found[stream]) == view
            assert found[stream].status == view.status
    for listed in list_pushes(store, {}):
        shown = show_push(store, listed["id"])
        assert listed == {name: shown[name] for name in listed}
        assert "_id" not in shown


def assert_every_id_leads_to_its_push(store: Store) -> None:
    claims = {(claim.stream, claim.value) for claim in store.log.claims()[1]}

    assert claims == rows(store, BOTH)["push_aliases"].keys()


# --- what a row says --------------------------------------------------------------


def test_a_row_says_of_a_document_what_can_be_looked_up() -> None:
    row = folded(
        push.Recorded(
            "a",
            {
                "id": "a", "type": "push", "blocked": True, "error": False, "rejected": "odd",
                "url": "https://Host/P/r.git", "project": "P", "repoName": "r.git",
                "branch": "refs/heads/\0", "user": "Bob", "userEmail": "Bob@Example.com",
                "timestamp": 7.5, "commitFrom": "0", "commitTo": "1", "steps": [{"x": None}],
                "attestation": {"reviewer": {"username": "Carol"}}, "unknown": "\ud800é",
            },
            {"/steps/0/x": "ab"},
        ),
        push.Canceled(),
    )  # fmt: skip

    assert row is not None
    assert row._replace(summary="", document="") == pushes.Row(
        stream="push-a", id="a", type="push", status="canceled", error=0, blocked=1,
        allow_push=None, authorised=0, canceled=1, rejected=0, auto_approved=None,
        auto_rejected=None, url="https://Host/P/r.git", canonical_url="host/p/r", project="P",
        repo_name="r.git", branch="refs/heads/\u2400", user_name="Bob",
        user_email="bob@example.com", reviewer="carol", timestamp_text="7.5",
        timestamp_us=7_500, newest_first=-7_500, commit_from="0", commit_to="1",
        first_position=1, decided_at_us=2_000, said_decided_us=None, last_position=2,
        summary="", document="",
        blobs='{"/steps/0/x":"ab"}',
    )  # fmt: skip
    assert '"unknown":"\\ud800é"' in row.document
    assert "\\u0000" in row.document
    assert "unknown" not in json.loads(row.summary)
    assert "steps" not in json.loads(row.summary)


def test_a_push_that_was_recorded_again_after_its_end_begins_again() -> None:
    recorded = push.Recorded("a", {"id": "a"}, {})

    row = folded(recorded, push.Deleted(), recorded, push.Rerecorded({"id": "a"}, {}))

    assert row is not None
    assert (row.first_position, row.last_position) == (3, 4)
    assert folded(recorded, push.Deleted()) is None


@pytest.mark.parametrize(
    ("given_time", "text", "micros"),
    [
        (1744380903338, "1744380903338", 1744380903338_000),
        (1744380903338.0, "1744380903338.0", 1744380903338_000),
        (-7.5, "-7.5", -7_500),
        (0.0001, "0.0001", 0),
        (8_640_000_000_000_000, "8640000000000000", 8_640_000_000_000_000_000),
        (8_640_000_000_000_001, "8640000000000001", None),
        (-1e300, "-1e+300", None),
        (10**400, "1" + "0" * 400, None),
        (None, "null", None),
        (True, "true", None),
        ("7", '"7"', None),
        ([7], "[7]", None),
    ],
)
def test_a_timestamp_is_kept_as_it_was_given(
    given_time: object, text: str, micros: int | None
) -> None:
    row = folded(push.Recorded("a", {"id": "a", "timestamp": given_time}, {}))

    assert row is not None
    assert (row.timestamp_text, row.timestamp_us) == (text, micros)
    assert row.newest_first == (pushes.NO_TIME if micros is None else -micros)


def test_a_document_without_a_timestamp_has_none() -> None:
    row = folded(push.Recorded("a", {"id": "a"}, {}))

    assert row is not None
    assert (row.timestamp_text, row.timestamp_us) == (None, None)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
        ("https://github.com/Finos/Demo.git", "github.com/finos/demo"),
        ("https://github.com/finos/demo", "github.com/finos/demo"),
        ("  https://github.com/finos/demo.git/  ", "github.com/finos/demo"),
        ("https://user:secret@github.com/finos/demo//", "github.com/finos/demo"),
        ("ssh://git@Host:2222/finos/demo.git", "host:2222/finos/demo"),
        ("git@github.com:finos/demo.git", "github.com/finos/demo"),
        ("git@host:/srv/demo.git", "host/srv/demo"),
        ("host:finos/demo", "host/finos/demo"),
        ("https://host:8443/a.git.b/c.git", "host:8443/a.git.b/c"),
        ("https://host/", "host"),
        ("not a url", "not a url"),
        ("", ""),
    ],
)
def test_a_repository_has_one_name_however_its_url_is_written(url: str, canonical: str) -> None:
    row = folded(push.Recorded("a", {"id": "a", "url": url}, {}))

    assert row is not None
    assert (row.url, row.canonical_url) == (url, canonical)


def test_a_text_that_no_index_could_hold_stands_as_its_sum() -> None:
    row = folded(push.Recorded("a", {"id": "a", "userEmail": "é" * 600, "type": "x" * 1_024}, {}))

    assert row is not None
    assert row.user_email is not None
    assert (row.user_email[0], len(row.user_email), row.type) == ("~", 65, "x" * 1_024)


def folded(*values: push.Event) -> pushes.Row | None:
    row = None
    for position, value in enumerate(values, 1):
        at = 1_000 * position
        record = Recorded(0, position, "push-a", position, "", 1, b"", b"", at, "", 0)
        row = pushes.apply(("push-a",), row, Event(record, value))
    return row
