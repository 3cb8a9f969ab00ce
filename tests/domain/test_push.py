"""What may happen to a push, what the view of it is, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from refold.domain.push import (
    Allowed,
    Authorised,
    Canceled,
    Deleted,
    Event,
    InvalidId,
    Push,
    Recorded,
    Rejected,
    Rekeyed,
    Rerecorded,
    UnknownPush,
    View,
    after,
    authorise,
    cancel,
    delete,
    import_record,
    record,
    reject,
    rekey,
    view,
)
from refold.domain.texts import IllFormedText

ID, NEW = f"{'0' * 40}__{'b' * 40}", "ab" * 32
ATTESTATION = {"reviewer": {"username": "carol"}, "answers": [{"label": "x", "checked": True}]}
REJECTION = {"reason": "no", "reviewer": {"username": "dan"}}
FLAGS = {"authorised": False, "canceled": False, "rejected": False}
WAITING = {"id": ID, "type": "push", "error": False, "blocked": True, "allowPush": False, **FLAGS}
RECORDED = Recorded(ID, WAITING, {})
DECISIONS: list[Event] = [
    Authorised(ATTESTATION),
    Authorised(None),
    Rejected(REJECTION),
    Canceled(),
]

# --- what is audited --------------------------------------------------------------


def test_the_first_audit_records_the_document() -> None:
    document = WAITING | {"odd": [{"x": None}], "steps": []}

    assert record(Push(), document, {"/odd/0/x": "ab"}) == [
        Recorded(ID, document, {"/odd/0/x": "ab"})
    ]


def test_the_id_of_a_database_is_left_out() -> None:
    document = WAITING | {"_id": "s0pgSB7Y9Ebiavzd", "nested": {"_id": "kept"}}

    [recorded] = record(Push(), document, {"/_id": "ab", "/nested/_id": "cd"})

    assert recorded == Recorded(ID, WAITING | {"nested": {"_id": "kept"}}, {"/nested/_id": "cd"})


@pytest.mark.parametrize("stored", [(), (Rejected(REJECTION),), (Canceled(),)])
def test_a_later_audit_replaces_the_document(stored: tuple[Event, ...]) -> None:
    later = WAITING | {"blocked": False}

    assert record(after(RECORDED, *stored), later, {}) == [Rerecorded(later, {})]
    assert view([RECORDED, *stored, Rerecorded(later, {})]) == View(later, {})


def test_an_authorised_push_that_comes_again_is_let_through_as_it_was_stored() -> None:
    authorised: list[Event] = [RECORDED, Authorised(ATTESTATION)]

    again = record(after(*authorised), WAITING | {"odd": "new"}, {})

    assert again == [Allowed()]
    assert shown(*authorised, *again) == WAITING | {
        "authorised": True,
        "allowPush": True,
        "blocked": False,
        "attestation": ATTESTATION,
    }


def test_a_document_may_say_itself_that_it_is_authorised() -> None:
    stored = Recorded(ID, WAITING | {"authorised": True}, {})

    assert record(after(stored), WAITING, {}) == [Allowed()]
    assert record(after(RECORDED, Rerecorded(stored.document, {})), WAITING, {}) == [Allowed()]


@pytest.mark.parametrize("last", [Rejected(REJECTION), Canceled()])
def test_a_push_whose_approval_was_taken_back_is_recorded_when_it_comes_again(last: Event) -> None:
    history: list[Event] = [RECORDED, Authorised(ATTESTATION), last]

    assert record(after(*history), WAITING, {}) == [Rerecorded(WAITING, {})]


@pytest.mark.parametrize("error", [True, "text", 1])
def test_an_authorised_push_that_comes_again_with_an_error_is_recorded(error: object) -> None:
    failed = WAITING | {"error": error}

    assert record(after(RECORDED, Authorised(None)), failed, {}) == [Rerecorded(failed, {})]
    assert record(after(RECORDED, Authorised(None), Rerecorded(failed, {})), WAITING, {}) == [
        Rerecorded(WAITING, {})
    ]


@pytest.mark.parametrize("id", [None, 1744380903338, 7.5, True, ["x"]])
def test_an_id_that_is_no_text_is_refused(id: object) -> None:
    with pytest.raises(InvalidId, match="Invalid id"):
        record(Push(), WAITING | {"id": id}, {})


def test_a_document_without_an_id_is_refused() -> None:
    with pytest.raises(InvalidId, match="Invalid id"):
        record(Push(), {"type": "push"}, {})


@pytest.mark.parametrize("id", ["", "nul\0", "\ud800", "line\n", "x" * 257])
def test_an_id_that_no_table_could_hold_is_refused(id: str) -> None:
    with pytest.raises(IllFormedText):
        record(Push(), WAITING | {"id": id}, {})
    with pytest.raises(IllFormedText):
        rekey(after(RECORDED), ID, id)


# --- decisions --------------------------------------------------------------------


@pytest.mark.parametrize("before", [None, *DECISIONS, Allowed()])
@pytest.mark.parametrize(
    ("decide", "event", "flags"),
    [
        (
            lambda push: authorise(push, ID, ATTESTATION),
            Authorised(ATTESTATION),
            {"authorised": True, "attestation": ATTESTATION},
        ),
        (lambda push: authorise(push, ID, None), Authorised(None), {"authorised": True}),
        (
            lambda push: reject(push, ID, REJECTION),
            Rejected(REJECTION),
            {"rejected": True, "rejection": REJECTION},
        ),
        (lambda push: cancel(push, ID), Canceled(), {"canceled": True}),
    ],
    ids=["authorise", "authorise without attestation", "reject", "cancel"],
)
def test_every_decision_is_kept_whatever_came_before(
    before: Event | None,
    decide: Callable[[Push], list[Event]],
    event: Event,
    flags: dict[str, object],
) -> None:
    history = [RECORDED, before] if before else [RECORDED]
    document = shown(*history)

    decided = decide(after(*history))

    assert decided == [event]
    stays = {name for name in ("attestation", "rejection") if name in document}
    if isinstance(event, Authorised):
        stays -= {"attestation"}
    assert shown(*history, *decided) == (
        WAITING
        | {name: document[name] for name in ("blocked", "allowPush", "error", *stays)}
        | flags
    )


def test_a_decision_takes_the_strings_of_what_it_replaces_along() -> None:
    stored = Recorded(
        ID, WAITING | {"attestation": {"a": None}}, {"/attestation/a": "1", "/x": "2"}
    )

    decided = authorise(after(stored), ID, {"b": None}, {"/attestation/b": "3"})

    assert view([stored, *decided]) == View(
        WAITING | {"authorised": True, "attestation": {"b": None}},
        {"/attestation/b": "3", "/x": "2"},
        decided=True,
    )


@pytest.mark.parametrize("history", [[], [RECORDED, Deleted()]], ids=["never there", "deleted"])
@pytest.mark.parametrize(
    "decide",
    [
        lambda push: authorise(push, ID, None),
        lambda push: reject(push, ID, REJECTION),
        lambda push: cancel(push, ID),
        lambda push: rekey(push, ID, NEW),
    ],
    ids=["authorise", "reject", "cancel", "rekey"],
)
def test_nothing_is_decided_about_an_unknown_push(
    history: list[Event], decide: Callable[[Push], list[Event]]
) -> None:
    with pytest.raises(UnknownPush, match=f"^push {ID} not found$"):
        decide(after(*history))


# --- imports --------------------------------------------------------------------


def test_an_import_replaces_the_document_and_keeps_what_was_decided_here() -> None:
    later = WAITING | {"branch": "refs/heads/other", "rejected": True, "rejection": {"old": 1}}
    decided = authorise(after(RECORDED), ID, {"b": None}, {"/attestation/b": "3"})

    undecided = view([RECORDED, *import_record(later, {"/x": "2"})])
    kept = view([RECORDED, *decided, *import_record(later, {"/x": "2"})])

    assert undecided == View(later, {"/x": "2"})
    shown_before = {name: value for name, value in later.items() if name != "rejection"}
    assert kept == View(
        shown_before | {"authorised": True, "canceled": False, "rejected": False}
        | {"attestation": {"b": None}},
        {"/x": "2", "/attestation/b": "3"},
        decided=True,
    )  # fmt: skip


def test_an_import_makes_a_push_known_and_an_audit_ends_what_was_decided() -> None:
    [imported] = import_record(WAITING | {"authorised": True}, {})

    assert after(imported) == Push(True, True, id=ID, ids=frozenset({ID}))
    assert after(RECORDED, Canceled(), imported).authorised is False
    assert after(RECORDED, Canceled(), Rerecorded(WAITING, {}), imported).authorised is True
    again = view([RECORDED, Canceled(), Rerecorded(WAITING, {}), imported])
    assert again == View(WAITING | {"authorised": True}, {})


# --- other ids, and the end -------------------------------------------------------


def test_a_push_gets_another_id_and_keeps_the_ones_before() -> None:
    renamed = rekey(after(RECORDED), ID, NEW)

    assert renamed == [Rekeyed(NEW)]
    assert shown(RECORDED, *renamed) == WAITING | {"id": NEW, "legacyId": ID}
    assert after(RECORDED, *renamed).ids == {ID, NEW}
    assert rekey(after(RECORDED, *renamed), ID, NEW) == []
    assert rekey(after(RECORDED, *renamed), NEW, ID) == [Rekeyed(ID)]


def test_an_audit_under_an_older_id_is_of_the_same_push() -> None:
    history: list[Event] = [RECORDED, Rekeyed(NEW), Rerecorded(WAITING, {})]

    assert shown(*history) == WAITING
    assert after(*history) == Push(True, id=ID, ids=frozenset({ID, NEW}))


def test_a_deleted_push_is_unknown_until_it_is_recorded_again() -> None:
    history = [RECORDED, Authorised(None), *delete(after(RECORDED))]

    assert history[-1] == Deleted()
    assert view(history) is None
    assert delete(after(*history)) == []
    assert record(after(*history), WAITING, {}) == [RECORDED]
    assert after(*history, RECORDED) == after(RECORDED)


def test_a_push_that_never_was_is_deleted_without_a_word() -> None:
    assert delete(Push()) == []


def test_a_decision_on_nothing_shows_nothing() -> None:
    assert view([Canceled(), Rekeyed(NEW)]) is None


# --- where a push stands ----------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, "pending"),
        ({"allowPush": True}, "approved"),
        ({"allowPush": True, "blocked": True}, "pending"),
        ({"blocked": True, "authorised": True}, "approved"),
        ({"authorised": True, "canceled": True}, "canceled"),
        ({"canceled": True, "rejected": True}, "rejected"),
        ({"rejected": True, "error": True}, "error"),
        ({"error": "it broke"}, "error"),
        ({"error": None, "rejected": 0, "canceled": "", "authorised": []}, "approved"),
    ],
)
def test_the_first_flag_that_applies_says_where_a_push_stands(
    fields: dict[str, Any], status: str
) -> None:
    assert View({"id": ID, **fields}, {}).status == status


def test_a_flag_that_was_cut_out_is_a_flag() -> None:
    assert View({"error": None}, {"/error": "ab"}).status == "error"


def shown(*events: Event) -> dict[str, Any]:
    found = view(events)
    assert found is not None
    assert found.blobs == {}
    return dict(found.document)
