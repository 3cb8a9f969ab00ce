"""`refold search`: find files by name, tag and type."""

from typing import Annotated

import typer

from refold.infrastructure import queries
from refold.projections import files
from refold.scripts import as_of, options, output


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
    --as-of, files are folded from the first event into memory, and what was found then is.

    Example: refold search 'paper -draft' --store sqlite:///files.db
    """
    after: queries.After = "now" if when is None else None
    with options.opened(store, config) as opened, as_of.at(opened, when, files) as seen:
        hits = queries.search(seen, query, after=after, limit=limit, offset=offset)
    if json:
        output.document(
            {
                "total": hits.total,
                "more": hits.more,
                "hits": [
                    {"sha256": key, "name": name, "rank": rank}
                    for rank, (key, name) in enumerate(hits.rows, offset + 1)
                ],
            }
        )
        return
    output.table(
        ("rank", "name", "sha256"),
        ((rank, name, key) for rank, (key, name) in enumerate(hits.rows, offset + 1)),
    )
    print(f"{len(hits.rows)} of {hits.total}{' and more' if hits.more else ''}")
