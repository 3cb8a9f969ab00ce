"""Stores that are checked, one of each engine, and what a person may do to their tables."""

from typing import Any
from uuid import uuid4

import pytest

from refold.domain import times
from refold.infrastructure.commands import run
from refold.infrastructure.store import Store
from refold.tests.contract.query_tables import at, schema

SHA = "ab" * 32
CID = "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi"


@pytest.fixture
def tagged_store(store: Store) -> Store:
    """A store with a file, tagged at 2 and voted for at 3 and 4, whose tables are folded."""
    return with_a_tag(store)


@pytest.fixture
def tagged(memory: Store) -> Store:
    """The same, in memory."""
    return with_a_tag(memory)


def with_a_tag(store: Store, until: int | None = None) -> Store:
    do(store, "file.register", sha256=SHA, cid=CID, name="paper.pdf")
    do(store, "file.add_tag", sha256=SHA, tag="t")
    for voter in "ada", "bo":
        do(store, "tag_vote.cast", actor=voter, sha256=SHA, tag="t", voter=voter, stance=1)
    store.folder.catch_up(None if until is None else at(until))
    return store


def do(store: Store, name: str, /, *, actor: str = "ada", **fields: Any) -> None:
    run(store, name, fields, command_id=uuid4().hex, actor=actor)


def by_hand(store: Store, statement: str) -> None:
    """Change a live table as nobody should; {} stands for its place."""
    place = schema(store)
    with store.tables.writing() as connection:
        done = connection.exec_driver_sql(statement.replace("{}", f"{place}." if place else ""))
        assert done.rowcount


def recorded_at(store: Store, position: int) -> str:
    return times.text(store.log.page(0, position - 1, 1)[0].recorded_at)
