"""Writes PinShare's `metadata.json`."""

import json
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final, TextIO

import sqlalchemy as sa

from refold.domain import file
from refold.infrastructure.legacy.pinshare import records as pinshare
from refold.infrastructure.store import Store
from refold.projections import file_counts, file_tags, files
from refold.projections.columns import storable

ROWS_AT_ONCE: Final = 5_000
"""Rows of a table that are in memory at once."""


def export_pinshare(store: Store, out: TextIO) -> int:
    """Write all files as PinShare's metadata.json, as the log has them now; return their number.

    What an import could not say in columns (unknown fields, missing ones, null) is there again.
    """
    store.folder.catch_up()
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        listed, counted, tagged = (
            current[projection.NAME].table for projection in (files, file_counts, file_tags)
        )
        rows = connection.execute(
            sa.select(
                *(listed.c[name] for name in files.Row._fields),
                counted.c.moderation_votes,
                counted.c.last_updated,
            )
            .join_from(listed, counted, listed.c.sha256 == counted.c.sha256)
            .order_by(listed.c.key),
            execution_options={"yield_per": ROWS_AT_ONCE},
        )
        tags = connection.execute(
            sa.select(listed.c.key, tagged.c.tag, tagged.c.tag_count)
            .join_from(tagged, listed, tagged.c.sha256 == listed.c.sha256)
            .order_by(listed.c.key, tagged.c.tag),
            execution_options={"yield_per": ROWS_AT_ONCE},
        )
        return pinshare.write(_documents(rows, tags), out)


def _documents(rows: Iterable[Any], tags: Iterable[Any]) -> Iterator[tuple[str, dict[str, object]]]:
    """Yield each file's document; both inputs are in the order of the files' keys."""
    groups = groupby(tags, key=lambda tag: tag.key)
    key, group = next(groups, (None, iter(())))
    for *columns, votes, updated in rows:
        row = files.Row._make(columns)
        counts: dict[str, int] = {}
        if row.key == key:
            counts = {tag.tag: tag.tag_count for tag in group}
            key, group = next(groups, (None, iter(())))
        yield row.key, pinshare.document(row.key, _record(row, counts, votes, updated))


def _record(row: files.Row, tags: dict[str, int], votes: int, updated: str) -> file.Record:
    source = json.loads(row.source) if row.source else {}
    verbatim = {
        field: text
        for field, text in source.get("verbatim", {}).items()
        if storable(text) == getattr(row, field)
    }
    texts = {"cid": row.cid, "name": row.name, "type": row.type} | verbatim
    return file.Record(
        **texts,
        added_at=row.added_at,
        last_updated=updated,
        moderation_votes=votes,
        tags=tags if tags or not source.get("null_tags") else None,
        ban_set=row.ban_set,
        extra=source.get("extra", {}),
        absent=tuple(source.get("absent", ())),
    )
