"""`refold search`: find files by name, tag and type."""

from typing import Annotated

import typer

from refold.infrastructure.reading import After
from refold.infrastructure.services.files import search as find
from refold.projections import files
from refold.scripts import as_of, lines, options, output


def search(
    query: Annotated[str, typer.Argument(help='Words, "phrases", -not, or, prefix*.')],
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many hits to print.")] = 20,
    offset: Annotated[int, typer.Option(min=0, help="How many hits to pass over.")] = 0,
    when: as_of.When = None,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Find files: by name first, then by tag, then by type; the newest first.

    Tables that are behind are folded first, so that a search sees every command before it. No
    query is an error. At most 10 000 hits are counted; "more" tells that there are others. With
    --as-of, files are folded from the first event into memory, and the answer is that of then.

    A file that is parked is found by what it was before its fold broke off, and marked; how many
    there are is told, whether found or not. Before a query that begins with - stands --.

    Example: refold search 'paper -draft' --store sqlite:///files.db
    """
    after: After = "now" if when is None else None
    with options.opened_to_read(store, config) as opened, as_of.at(opened, when, files) as seen:
        found = find(seen, query, after=after, limit=limit, offset=offset)
    if json:
        output.document(
            {
                "total": found.total,
                "more": found.more,
                "parked": found.parked,
                "hits": [
                    {"sha256": key, "name": name, "rank": rank, "parked": key in found.stale}
                    for rank, (key, name) in enumerate(found.rows, offset + 1)
                ],
            }
        )
        return
    output.table(
        ("rank", "name", "sha256", *([""] if found.stale else [])),
        (
            (rank, name, key, *(["parked"] if key in found.stale else []))
            for rank, (key, name) in enumerate(found.rows, offset + 1)
        ),
    )
    print(f"{len(found.rows)} of {found.total}{' and more' if found.more else ''}")
    if found.parked:
        print(lines.not_up_to_date("files", found.parked))
