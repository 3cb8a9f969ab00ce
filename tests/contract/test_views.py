"""The views for analysts: commented, and the same answers on both engines."""

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from refold.infrastructure.commands import run
from refold.infrastructure.store import Store
from refold.projections import catalog, views

SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"
PUSH = {
    "id": "a__b",
    "type": "push",
    "blocked": True,
    "url": "https://Host/P/r.git",
    "user": "bob",
    "timestamp": 1_000,
}


pytestmark = pytest.mark.usefixtures("vault_key")


def test_views_answer_the_same_on_every_engine(store: Store) -> None:
    do = commands(store)
    do("file.register", sha256=SHA, cid=CID, name="a.pdf", type="pdf")
    do("tag_vote.cast", sha256=SHA, tag="draft", voter="ada", stance=1)
    do("file.ban", sha256=SHA, code=9)
    do("push.record", document=PUSH)
    do("push.record", document=PUSH | {"id": "c__d", "timestamp": None})
    do("push.reject", id="a__b", rejection={"reason": "no"})
    do("session.set", sid="1", body="{}", expires_at="2990-01-01T00:00:00Z", user="ada")
    do("session.set", sid="2", body="{}", expires_at="2991-01-01T00:00:00Z", user="ada")
    do("session.set", sid="3", body="{}", expires_at="1990-01-01T00:00:00Z", user="bob")
    store.folder.catch_up()

    [tagged] = rows(store, views.FILES_BY_TAG)
    [banned] = rows(store, views.BANNED_FILES)
    [decided] = rows(store, views.PUSH_DECISIONS)
    [activity] = rows(store, views.PUSH_ACTIVITY)
    [sessions] = rows(store, views.ACTIVE_SESSIONS)

    assert (tagged.tag, tagged.tag_count, tagged.sha256, tagged.ban_set) == ("draft", 1, SHA, 9)
    assert (banned.sha256, banned.reason) == (SHA, "malware")
    assert (decided.id, decided.status, decided.user_name) == ("a__b", "rejected", "bob")
    took = (decided.decided_at_us - 1_000_000) / 1_000_000
    assert float(decided.seconds_to_decision) == pytest.approx(took)
    assert (activity.canonical_url, activity.pending, activity.rejected) == ("host/p/r", 1, 1)
    assert (sessions.username, sessions.active) == ("ada", 2)


@pytest.mark.parametrize("view", views.ALL, ids=lambda view: view.name)
def test_every_view_has_the_columns_that_it_describes(store: Store, view: views.View) -> None:
    store.folder.catch_up()

    with store.tables.reading() as connection:
        schema = store.tables.current(connection)[view.tables[0]].table.schema
        inspector = sa.inspect(connection)
        found = inspector.get_columns(view.name, schema)
        comment: Any = None
        if connection.dialect.name == "postgresql":
            comment = inspector.get_table_comment(view.name, schema)["text"]

    assert [each["name"] for each in found] == list(view.columns)
    if comment is not None:
        assert comment == view.comment
        assert {each["name"]: each.get("comment") for each in found} == view.columns


@pytest.mark.parametrize("projection", catalog.ALL, ids=lambda each: each.NAME)
def test_every_table_and_column_is_described(projection: Any) -> None:
    assert projection.TABLE.comment
    assert all(column.comment for column in projection.TABLE.columns)


def commands(store: Store) -> Callable[..., object]:
    numbers = iter(range(100))

    def do(name: str, /, **fields: object) -> object:
        return run(store, name, fields, command_id=f"{next(numbers)}", actor="ada")

    return do


def rows(store: Store, view: views.View) -> list[Any]:
    with store.tables.reading() as connection:
        schema = store.tables.current(connection)[view.tables[0]].table.schema
        shown = sa.table(view.name, *map(sa.column, view.columns), schema=schema)
        return list(connection.execute(sa.select(shown)))
