"""Query tables as files for spreadsheets and scripts: CSV and JSON lines, row by row."""

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import sqlalchemy as sa

from refold.domain.errors import BadInput
from refold.infrastructure.reading import After, reading
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.catalog import LEFT_OUT


def write_csv(store: Store, table: str, out: TextIO, after: After = "now") -> int:
    """Write a table with a header, in the order of its key; return how many rows it has.

    Null is an empty field. A text that a spreadsheet would take for a formula begins with an
    apostrophe. Raises `BadInput` for a table that there is not.
    """
    with _rows(store, table, after) as (names, rows):
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(names)
        count = 0
        for row in rows:
            writer.writerow(map(_inert, row))
            count += 1
    return count


def write_jsonl(store: Store, table: str, out: TextIO, after: After = "now") -> int:
    """Write a table as JSON lines, in the order of its key; return how many rows it has."""
    with _rows(store, table, after) as (names, rows):
        count = 0
        for row in rows:
            fields = dict(zip(names, row, strict=True))
            out.write(json.dumps(fields, ensure_ascii=False) + "\n")
            count += 1
    return count


@contextmanager
def _rows(store: Store, name: str, after: After) -> Iterator[tuple[list[str], Iterator[Any]]]:
    projection = catalog.named(name)
    if projection is None:
        tables = ", ".join(each.NAME for each in catalog.ALL)
        raise BadInput(f"there is no table {name!r}; there are {tables}")
    with reading(store, after, projection) as opened:
        table = opened.current[name].table
        names = [each for each in projection.TABLE.c.keys() if each not in LEFT_OUT.get(name, ())]
        query = sa.select(*(table.c[each] for each in names)).order_by(*table.primary_key)
        yield names, iter(opened.connection.execution_options(yield_per=1_000).execute(query))


def _inert(value: object) -> object:
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value
