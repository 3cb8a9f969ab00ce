"""Query tables as files for spreadsheets and scripts: CSV and JSON lines, row by row."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, TextIO

import sqlalchemy as sa

from refold.domain.errors import BadInput
from refold.infrastructure.store import Store
from refold.projections import catalog

LEFT_OUT: Final = {"sessions": {"sealed"}}
"""Columns that are for the vault alone, by table."""


def write_csv(store: Store, table: str, out: TextIO) -> int:
    """Write a table with a header, in the order of its key; return how many rows it has.

    Null is an empty field. A text that a spreadsheet would take for a formula begins with an
    apostrophe. Raises `BadInput` for a table that there is not.
    """
    with _rows(store, table) as (names, rows):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        count = 0
        for row in rows:
            writer.writerow(map(_inert, row))
            count += 1
    return count


def write_jsonl(store: Store, table: str, out: TextIO) -> int:
    """Write a table as JSON lines, in the order of its key; return how many rows it has."""
    with _rows(store, table) as (names, rows):
        count = 0
        for row in rows:
            fields = dict(zip(names, row, strict=True))
            out.write(json.dumps(fields, ensure_ascii=False) + "\n")
            count += 1
    return count


@contextmanager
def _rows(store: Store, name: str) -> Iterator[tuple[list[str], Iterator[Any]]]:
    projection = catalog.named(name)
    if projection is None:
        tables = ", ".join(each.NAME for each in catalog.ALL)
        raise BadInput(f"there is no table {name!r}; there are {tables}")
    store.folder.catch_up()
    with store.tables.reading() as connection:
        table = store.tables.current(connection)[name].table
        names = [each for each in projection.TABLE.c.keys() if each not in LEFT_OUT.get(name, ())]
        query = sa.select(*(table.c[each] for each in names)).order_by(*table.primary_key)
        yield names, iter(connection.execution_options(yield_per=1_000).execute(query))


def _inert(value: object) -> object:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
