"""The tables of repositories: by every way the same rows, and the rows what the log says."""

import json
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.domain import repo, streams
from refold.domain.errors import Refused
from refold.domain.ports import Event, Recorded
from refold.infrastructure import commands
from refold.infrastructure.open import open_store
from refold.infrastructure.requests.repos import OfRepo, state
from refold.infrastructure.requests.request import Situation
from refold.infrastructure.services.repos import is_user_push_allowed, list_repos, show_repo
from refold.infrastructure.store import Store
from refold.projections import repo_permissions, repos
from refold.projections.projection import Key, Projection, Row
from refold.tests.projections.folds import asked, rows, rows_by_family

pytestmark = pytest.mark.usefixtures("small_pages")

BOTH: tuple[Projection, ...] = (repos, repo_permissions)


# --- the same rows by every way ---------------------------------------------------

ID = st.sampled_from(["a", "a", "b", "c/%", "~" + "é" * 200])
URL = st.sampled_from(["https://H/p.git", "https://h/p.git", "git@h:p", "é" * 500])
NAME = st.sampled_from(["Demo", "demo", "null.git-inside"])
ODD = st.sampled_from([None, True, 7.5, 2**64, "", "nul\0", "half \ud800", "x" * 2_000, ["y"]])
EXTRA = {
    "project": st.sampled_from(["finos", "", None]) | ODD,
    "dateCreated": ODD,
    "un/known~": ODD,
}
RECORD = st.fixed_dictionaries({"name": NAME, "url": URL}, optional=EXTRA)
LEGACY = st.fixed_dictionaries(
    {}, optional={"name": NAME | ODD, "url": URL | ODD, "users": ODD, "_id": ODD, **EXTRA}
)
FIELDS = st.fixed_dictionaries({}, optional={"name": NAME | ODD, "url": URL | ODD, **EXTRA})
UNSET = st.lists(st.sampled_from(["project", "dateCreated", "lastModified", "url"]), max_size=2)
USERNAME = st.sampled_from(["Ann", "ann", "bo", "İ", "cy"])
ROLE = st.sampled_from(["canPush", "canAuthorise"])
NAMES = st.lists(USERNAME, max_size=4)


STEPS = st.one_of(
    asked("repo.register", id=ID, document=RECORD),
    asked("repo.change", id=ID, fields=FIELDS, unset=UNSET),
    asked("repo.grant", id=ID, role=ROLE, username=USERNAME),
    asked("repo.grant", id=ID, role=ROLE, username=USERNAME),
    asked("repo.revoke", id=ID, role=ROLE, username=USERNAME),
    asked("repo.remove", id=ID),
    asked("import", id=ID, document=LEGACY, can_push=NAMES, can_authorise=NAMES),
    st.tuples(st.just("fold"), st.none()),
)
BEGINNING = [
    ("repo.register", {"id": "a", "document": {"name": "demo", "url": "https://H/p.git"}}),
    ("repo.grant", {"id": "a", "role": "canPush", "username": "zoe"}),
]


@given(st.lists(STEPS, min_size=5, max_size=30))
def test_tables_records_and_folds_by_family_say_the_same(steps: list[tuple[str, Any]]) -> None:
    with open_store("memory:") as store:
        take(store, [*BEGINNING, *steps])
        store.folder.catch_up()
        live = rows(store, BOTH)

        rebuilt = store.rebuilder.rebuild(BOTH)

        assert rows(store, BOTH) == live == rows_by_family(store, BOTH)
        assert all(each.is_equal for each in rebuilt)
        assert_rows_are_records(store)
        assert_listed_is_shown(store)
        assert_urls_are_claimed(store)


class ImportRepo(OfRepo):
    """What an importer does with one record."""

    document: dict[str, Any]
    can_push: list[str]
    can_authorise: list[str]

    def decide(self, now: Situation) -> Sequence[object]:
        found = state(now.events)
        return repo.import_record(found, self.id, self.document, self.can_push, self.can_authorise)


def take(store: Store, steps: list[tuple[str, Any]]) -> None:
    numbers = count()
    for name, data in steps:
        if name == "fold":
            store.folder.catch_up()
            continue
        request = ImportRepo(**data) if name == "import" else commands.parse(name, data)
        with suppress(Refused):  # the repo may be unknown, the url another's or none
            commands.carry_out(store, request, command_id=f"{next(numbers)}", actor="ada")


def assert_rows_are_records(store: Store) -> None:
    """The rows hold the fold of each stream, and nothing else."""
    tables = rows(store, BOTH)
    keys = {streams.family_key(record.stream) for record in store.log.page(0, 0, 10_000)}
    assert tables["repos"].keys() <= {(key,) for key in keys}
    assert {key[:1] for key in tables["repo_permissions"]} <= tables["repos"].keys()
    for key in keys:
        events: Any = [event.value for event in store.history(f"repo-{key}")]
        record, found = repo.view(events), repo.after(*events)
        assert (record is not None) == found.known == ((key,) in tables["repos"])
        if record is not None:
            row = repos.Row(*tables["repos"][key,])
            assert json.loads(row.document) == record
            assert row.id == found.id
            assert having(tables["repo_permissions"], key, "canPush") == found.can_push
            assert having(tables["repo_permissions"], key, "canAuthorise") == found.can_authorise


def having(table: dict[Key, Row], key: str, role: str) -> tuple[str, ...]:
    found = [repo_permissions.Row(*row) for row in table.values() if row[:2] == (key, role)]
    found.sort(key=lambda row: (row.granted_position, row.ordinal))
    return tuple(row.username for row in found)


def assert_listed_is_shown(store: Store) -> None:
    for listed in list_repos(store):
        del listed["activity"]
        assert show_repo(store, listed["_id"]) == listed
        for role in ("canPush", "canAuthorise"):
            assert len(set(listed["users"][role])) == len(listed["users"][role])


def assert_urls_are_claimed(store: Store) -> None:
    """A url leads to its one repository, and to what may be done there."""
    urls = [each["url"] for each in list_repos(store) if isinstance(each.get("url"), str)]
    urls = [url for url in urls if url.strip()]
    claims = store.log.claims()[1]
    assert sorted(urls) == [claim.value for claim in claims if claim.kind == "repo url"]
    for each in list_repos(store):
        if each.get("url") in urls:
            may = {*each["users"]["canPush"], *each["users"]["canAuthorise"]}
            for name in ("ann", "Bo", "cy"):
                assert is_user_push_allowed(store, each["url"], name) == (name.lower() in may)


# --- what a row says --------------------------------------------------------------

AT = "2026-08-02T10:00:00.125Z"


def test_a_row_says_of_a_record_what_can_be_looked_up() -> None:
    imported = repo.Imported(
        "a/b",
        {
            "project": "Finos\0", "name": "Demo", "url": "https://Host/Finos/Demo.git",
            "dateCreated": "2026-08-01T10:00:00.000Z", "unknown": "\ud800é",
        },
        (), (), (), (),
    )  # fmt: skip

    row = folded(imported, repo.AccessGranted("canPush", "ann", AT))

    assert row is not None
    assert row._replace(document="") == repos.Row(
        repo="a%2Fb", id="a/b", project="Finos\u2400", name="demo",
        url="https://Host/Finos/Demo.git", canonical_url="host/finos/demo",
        created_at="2026-08-01T10:00:00.000Z", modified_at=AT, document="",
    )  # fmt: skip
    assert '"unknown":"\\ud800é"' in row.document
    assert json.loads(row.document) == {**imported.document, "lastModified": AT}


def test_a_record_of_which_nothing_is_known_has_a_row() -> None:
    row = folded(repo.Imported("a", {"name": 7, "url": None, "dateCreated": True}, (), (), (), ()))

    assert row == repos.Row(
        "a%2Fb", "a", None, "", None, "", None, None, '{"dateCreated":true,"name":7,"url":null}'
    )


def test_a_removed_repository_has_no_row_until_it_is_registered_again() -> None:
    registered = repo.Registered("a/b", {"name": "demo", "url": "u"})

    assert folded(registered, repo.Removed((), ())) is None
    assert folded(registered, repo.Removed((), ()), registered) == folded(registered)


def test_names_of_an_import_stand_before_those_who_are_granted_later() -> None:
    imported = repo.Imported("a", {}, tuple(f"u{n}" for n in range(12)), ("bo",), (), ())
    granted = repo.AccessGranted("canPush", "ann", AT)

    table = permissions(imported, granted, repo.AccessRevoked("canPush", "u3", AT))

    names = [f"u{n}" for n in range(12) if n != 3]
    assert having(table, "a%2Fb", "canPush") == (*names, "ann")
    assert having(table, "a%2Fb", "canAuthorise") == ("bo",)
    assert table["a%2Fb", "canPush", "u11"] == ("a%2Fb", "canPush", "u11", 1, 11)
    assert table["a%2Fb", "canPush", "ann"] == ("a%2Fb", "canPush", "ann", 2, 0)


def test_another_import_orders_anew_and_takes_away() -> None:
    table = permissions(
        repo.Imported("a", {}, ("ann", "bo"), ("ann", "bo"), (), ()),
        repo.Imported("a", {}, ("cy", "ann"), (), ("bo",), ("ann", "bo")),
    )

    assert having(table, "a%2Fb", "canPush") == ("cy", "ann")
    assert having(table, "a%2Fb", "canAuthorise") == ()


def folded(*values: repo.Event) -> repos.Row | None:
    row = None
    for position, value in enumerate(values, 1):
        [key] = repos.keys(event(position, value))
        row = repos.apply(key, row, event(position, value))
    return row


def permissions(*values: repo.Event) -> dict[Key, Row]:
    table: dict[Key, Any] = {}
    for position, value in enumerate(values, 1):
        for key in repo_permissions.keys(event(position, value)):
            table[key] = repo_permissions.apply(key, table.get(key), event(position, value))
    return {key: row for key, row in table.items() if row}


def event(position: int, value: repo.Event) -> Event:
    stream = streams.name("repo", "a/b")
    return Event(Recorded(0, position, stream, position, "", 1, b"", b"", 0, "", 0), value)
