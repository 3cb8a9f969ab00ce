"""Files as PinShare asks for them: one as the log has it, all of them in order, a search."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import sqlalchemy as sa

from refold.domain import file, streams
from refold.infrastructure.folding import parked
from refold.infrastructure.folding.folder import fold_family
from refold.infrastructure.folding.rows import Hits
from refold.infrastructure.limits import check_page, check_query
from refold.infrastructure.reading import After, reading
from refold.infrastructure.store import Store
from refold.projections import file_counts, file_tags, files
from refold.projections.projection import Key
from refold.projections.query import parse


@dataclass(frozen=True, slots=True)
class FileView:
    """A file with its tags and counts; times are RFC 3339."""

    sha256: str
    cid: str
    name: str
    type: str
    ban_set: int
    moderation_votes: int
    tags: Mapping[str, int]
    added_at: str
    last_updated: str


@dataclass(frozen=True, slots=True)
class VotesHere:
    """The votes that voters cast on a file here: its totals without what records brought."""

    on_removal: int
    on_tags: Mapping[str, int]


def show_file(store: Store, sha256: str) -> FileView:
    """Return the file as the log has it now: its family is folded, no table is asked.

    Raises `UnknownFile`.
    """
    return show_with_votes(store, sha256)[0]


def show_with_votes(store: Store, sha256: str) -> tuple[FileView, VotesHere]:
    """Return the file, and the votes that its totals hold of voters here. Raises as `show_file`."""
    family = streams.name("file", sha256)
    tables = fold_family(store.family(family), (files, file_counts, file_tags))
    for row in tables["files"].values():
        found = files.Row._make(row)
        counts = file_counts.Row._make(tables["file_counts"][found.sha256,])
        tags = sorted(map(file_tags.Row._make, tables["file_tags"].values()))
        return _view(found, counts, {each.tag: each.tag_count for each in tags}), VotesHere(
            counts.moderation_votes - counts.moderation_baseline,
            {each.tag: each.tag_count - each.baseline for each in tags},
        )
    raise file.UnknownFile(f"no file {sha256} is known")


def _view(row: files.Row, counts: file_counts.Row, tags: Mapping[str, int]) -> FileView:
    return FileView(
        row.key,
        row.cid,
        row.name,
        row.type,
        row.ban_set,
        counts.moderation_votes,
        tags,
        row.added_at,
        counts.last_updated,
    )


def list_files(
    store: Store, *, after: After = "now", limit: int | None = None, offset: int = 0
) -> list[FileView]:
    """Return all files, banned ones too, by `added_at` to the microsecond, then by sum.

    Tables that are behind `after` are folded first. Raises `PageTooLarge`.
    """
    check_page(limit, offset)
    with reading(store, after, files, file_counts, file_tags) as tables:
        connection = tables.connection
        listed, counted, tagged = (
            tables.current[projection.NAME].table for projection in (files, file_counts, file_tags)
        )
        page = sa.select(*(listed.c[name] for name in files.Row._fields))
        page = page.order_by(listed.c.added_at_us, listed.c.key)
        page = page.limit(limit).offset(offset)
        rows = [files.Row._make(row) for row in connection.execute(page)]
        page = page.with_only_columns(listed.c.sha256)
        of_page = counted.c.sha256.in_(page), tagged.c.sha256.in_(page)
        counts = connection.execute(sa.select(counted).where(of_page[0]))
        tags = connection.execute(sa.select(tagged).where(of_page[1]))
        counts_of = {row.sha256: file_counts.Row._make(row) for row in counts}
        tags_of: dict[str, dict[str, int]] = {}
        for row in sorted(map(file_tags.Row._make, tags)):
            tags_of.setdefault(row.sha256, {})[row.tag] = row.tag_count
    return [_view(row, counts_of[row.sha256], tags_of.get(row.sha256, {})) for row in rows]


@dataclass(frozen=True, slots=True)
class Found(Hits):
    """The answer of a search: hits, and how many rows of files are `parked`.

    A parked file is found by what it was before its fold broke off, or not at all. `stale` are the
    keys of those that are among `rows`.
    """

    parked: int
    stale: frozenset[str]


def search(
    store: Store, text: str, *, after: After = "now", limit: int = 20, offset: int = 0
) -> Found:
    """Return the files that `text` finds: by name first, then by tag, then by type; newest first.

    Words, "phrases", -not, or, prefix*; no text is an error, unless it is too long. Tables that
    are behind `after` are folded first. Raises `QueryTooLong` and `PageTooLarge`.
    """
    check_query(text)
    check_page(limit, offset)
    query = parse(text)
    with reading(store, after, files) as tables:
        connection, generation = tables.connection, tables.current[files.NAME]
        waiting, hits, stale = parked.count(connection, generation), _NO_HITS, frozenset[Key]()
        if query.alternatives:
            hits = tables.rows.search(connection, generation, query, limit, offset)
        if waiting:
            stale = parked.among(connection, generation, [(key,) for key, _ in hits.rows])
    return Found(hits.total, hits.more, hits.rows, waiting, frozenset(key for (key,) in stale))


_NO_HITS: Final = Hits(0, more=False, rows=())
