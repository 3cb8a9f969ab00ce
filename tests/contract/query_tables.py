"""Query tables as tests see them: filled, looked at, and changed by hand."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from refold.domain import file, removal_vote, tag_vote
from refold.domain.ports import Appended, Command, Recorded, State, Write
from refold.domain.positions import Positions
from refold.infrastructure.codec import Metadata, encode_metadata
from refold.infrastructure.folding.digests import Digest
from refold.infrastructure.folding.folder import Folder
from refold.infrastructure.reading import After, reading
from refold.infrastructure.services.files import search
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.projection import Projection


def receive(store: Store, records: Sequence[Recorded]) -> None:
    store.log.change_state(State.FILLING)
    store.log.receive(records)
    store.log.change_state(State.OPEN)


def at(position: int) -> Positions:
    """Return the positions of a log with one partition."""
    return Positions((position,))


def register(store: Store, name: str) -> int:
    """Register a file of that name and return the position of the event."""
    return append(store, f"file-{name}", file.Registered(name, "cid", name, "pdf"))


def append(store: Store, stream: str, *values: object) -> int:
    """Append those events and return the position of the last one."""
    return append_all(store, [(stream, value) for value in values])


def append_all(store: Store, events: Iterable[tuple[str, object]]) -> int:
    metadata = encode_metadata(Metadata("ada"))
    before = store.log.heads()[0].position
    commands = [
        Command(f"{before}.{n}", (Write(stream, None, (store.codec.encode(value, metadata),)),))
        for n, (stream, value) in enumerate(events)
    ]
    outcomes = store.log.append(commands)
    assert all(isinstance(outcome, Appended) for outcome in outcomes), outcomes
    return before + len(outcomes)


def vote(store: Store, voters: int) -> None:
    """Let many vote on one tag of one file: its count is wrong as soon as one counts twice."""
    register(store, "one")
    append(store, "file-one", file.TagAdded("t", 1))
    for_the_tag = [
        (f"file-one/tag_vote/t/{voter}", tag_vote.Cast("t", f"{voter}", 1, 1))
        for voter in range(voters)
    ]
    for_removal = [
        (f"file-one/removal_vote/{voter}", removal_vote.Cast(f"{voter}", 1))
        for voter in range(voters)
    ]
    append_all(store, [*for_the_tag, *for_removal])


def refresh(store: Store, after: After, *wanted: Projection) -> None:
    """Fold the tables as whoever reads those `wanted` has them folded; by default all."""
    with reading(store, after, *(wanted or catalog.ALL)):
        pass


def found(store: Store, after: After) -> set[str]:
    return {name for _, name in search(store, "pdf", after=after).rows}


def folder_of(store: Store, projections: Sequence[Projection]) -> Folder:
    return Folder(store.advance, projections)


def beside(store: Store, other: Store) -> Store:
    """Return a store with the tables of another one."""
    return replace(store, tables=other.tables)


def digests(store: Store) -> dict[str, Digest]:
    return {each.NAME: store.folder.digest(each)[1] for each in catalog.ALL}


def refolded(store: Store) -> dict[str, Digest]:
    store.rebuilder.rebuild(catalog.ALL)
    return digests(store)


def checkpoint(store: Store, name: str) -> int:
    rows: list[tuple[str, int]] = query(store, "SELECT projection, position FROM {}checkpoints")
    return next((position for named, position in rows if named == name), 0)


def generations(store: Store, name: str) -> dict[int, str]:
    rows = query(store, "SELECT name, generation, state FROM {}projections")
    return {number: state for named, number, state in rows if named == name and state != "dropped"}


def view(store: Store, name: str) -> list[Any]:
    """Return the rows that anybody sees who asks for `name`, in order."""
    return physical(store, name)


def physical(store: Store, name: str) -> list[Any]:
    """Return the rows of a table in order, without what only a search looks at."""
    declared = next(each for each in catalog.ALL if name.startswith(each.NAME)).TABLE
    columns = ", ".join(column.name for column in declared.columns)
    return sorted(query(store, f"SELECT {columns} FROM {{}}{name}"))


def query(store: Store, statement: str) -> list[Any]:
    """Run plain SQL; {} stands for the place of the tables."""
    with store.tables.reading() as connection:
        rows = connection.exec_driver_sql(
            statement.format(*[prefix(store)] * statement.count("{}"))
        )
        return [tuple(row) for row in rows]


def forge(store: Store, named: str, where: tuple[str, str], **values: Any) -> None:
    """Change one row by hand."""
    key, value = where
    table = sa.table(named, *map(sa.column, (key, *values)), schema=schema(store))
    with store.tables.writing() as connection:
        update = table.update().where(table.c[key] == value).values(**values)
        assert connection.execute(update).rowcount == 1


def prefix(store: Store) -> str:
    place = schema(store)
    return f"{place}." if place else ""


def schema(store: Store) -> str | None:
    return getattr(store.address, "schema", None)
