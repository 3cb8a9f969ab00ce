"""Questions that a store answers: one file, a search, where everything stands."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Literal

import sqlalchemy as sa

from refold.domain import file, streams
from refold.domain.ports import ends
from refold.domain.positions import Positions
from refold.infrastructure.folding import parked
from refold.infrastructure.folding.folder import LiveTables, fold_family
from refold.infrastructure.folding.generations import Generation
from refold.infrastructure.folding.parked import ParkedRow, Waiting
from refold.infrastructure.folding.rows import Hits
from refold.infrastructure.limits import check_page, check_query
from refold.infrastructure.store import Store
from refold.projections import catalog, file_counts, file_tags, files
from refold.projections.projection import Key, Projection
from refold.projections.query import parse

After = Positions | Literal["now"] | None
"""How new an answer has to be: at least as of these, all that is in the log, or as it comes."""


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


def show_file(store: Store, sha256: str) -> FileView:
    """Return the file as the log has it now: its family is folded, no table is asked.

    Raises `UnknownFile`.
    """
    family = streams.name("file", sha256)
    tables = fold_family(store.family(family), (files, file_counts, file_tags))
    for row in tables["files"].values():
        found = files.Row._make(row)
        counts = file_counts.Row._make(tables["file_counts"][found.sha256,])
        tags = sorted(map(file_tags.Row._make, tables["file_tags"].values()))
        return _view(found, counts, {each.tag: each.tag_count for each in tags})
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
class VotesHere:
    """The votes that voters cast on a file here: its totals without what records brought."""

    on_removal: int
    on_tags: Mapping[str, int]


def votes_here(store: Store, sha256: str) -> VotesHere:
    """Return the votes that were cast on a file here, as the log has them now."""
    family = streams.name("file", sha256)
    tables = fold_family(store.family(family), (file_counts, file_tags))
    counts = [file_counts.Row._make(row) for row in tables["file_counts"].values()]
    tags = [file_tags.Row._make(row) for row in tables["file_tags"].values()]
    return VotesHere(
        sum(each.moderation_votes - each.moderation_baseline for each in counts),
        {each.tag: each.tag_count - each.baseline for each in tags},
    )


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


# --- how new an answer is ---------------------------------------------------------


@contextmanager
def reading(store: Store, after: After, *wanted: Projection) -> Iterator[LiveTables]:
    """Open the tables folded as far as `after` asks for; those that were never built are.

    A store that has gone along to a log of other partitions folds all: what a position from before
    means is not known there. Raises as `Folder.catch_up` where one of those `wanted` cannot go on.
    """
    goal: Positions | None = None
    if after != "now" and not (after and store.was_renumbered):
        goal = after or Positions(())
    with store.folder.reading(goal, wanted) as tables:
        yield tables


# --- status -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProjectionStatus:
    """Where a query table stands: `lag` counts the events that it is behind.

    `state` is current, behind, stopped (at an event that cannot be read; `why` says what), stale
    (another version fills it: rebuild) or missing. `parked` counts the rows that wait: see retry;
    `parked_rows` are the first of them.
    """

    name: str
    generation: int | None
    positions: Positions
    lag: int
    state: Literal["current", "behind", "stopped", "stale", "missing"]
    parked: int = 0
    parked_rows: Sequence[ParkedRow] = ()
    why: str = ""

    @property
    def is_well(self) -> bool:
        """Tell whether the table is whole up to its position, and goes on."""
        return not self.parked and self.goes_on

    @property
    def goes_on(self) -> bool:
        """Tell whether the table is folded on; rows of it may be parked."""
        return self.state in ("current", "behind", "missing")


@dataclass(frozen=True, slots=True)
class Status:
    """Where a store stands. `successor` is where it moved to."""

    store_id: str
    log_id: str
    engine: str
    state: str
    successor: str | None
    partitions: Sequence[tuple[int, int]]
    projections: Sequence[ProjectionStatus]


def status(store: Store) -> Status:
    """Return where the store stands; folds nothing."""
    identity, heads = store.log.identity(), store.log.heads()
    with store.tables.reading() as connection:
        current = store.tables.current(connection)
        standing = store.advance.standing(connection, current.values())
        positions = {name: each.positions for name, each in zip(current, standing, strict=True)}
        waiting = parked.waiting(connection, current.values())
    head = ends(heads)
    projections = [
        _status(
            store,
            current[each.NAME],
            positions[each.NAME],
            head,
            waiting.get(each.NAME, parked.NONE),
        )
        if each.NAME in current
        else ProjectionStatus(each.NAME, None, Positions((0,) * len(heads)), head.total, "missing")
        for each in catalog.ALL
    ]
    return Status(
        identity.store_id,
        identity.log_id,
        store.address.engine,
        heads[0].state.value,
        heads[0].successor,
        [(each.partition, each.position) for each in heads],
        projections,
    )


def _status(
    store: Store, generation: Generation, there: Positions, head: Positions, waiting: Waiting
) -> ProjectionStatus:
    name, number = generation.projection.NAME, generation.number
    lag = head.beyond(there)
    if not generation.is_of_this_version:
        return ProjectionStatus(name, number, there, lag, "stale", *waiting)
    stop = store.advance.stop(generation.projection, there) if lag else None
    if stop:
        return ProjectionStatus(name, number, there, lag, "stopped", *waiting, str(stop))
    return ProjectionStatus(name, number, there, lag, "behind" if lag else "current", *waiting)
