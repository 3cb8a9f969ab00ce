"""`refold retry`: fold parked rows again."""

from typing import Any

import typer

from refold.projections.projection import Key
from refold.scripts import options, output


def retry(
    tables: options.Tables = None,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Fold rows again that were parked because their projection failed at an event.

    Do this once the projection, or what it stumbled over, is mended. Exit code 1 when rows still
    wait; refold status counts them.

    Example: refold retry files --store sqlite:///files.db
    """
    chosen = options.projections(tables)
    with options.opened(store, config) as opened:
        opened.folder.catch_up(wanted=())
        tried = opened.folder.retry(chosen)
    lines = [
        (table, key, mended)
        for table, (folded, waiting) in tried.items()
        for keys, mended in ((folded, True), (waiting, False))
        for key in keys
    ]
    if json:
        output.document({"rows": [_document(*line) for line in lines]})
    elif lines:
        output.table(
            ("table", "key", "now"),
            ((table, output.shown(key), "folded" if ok else "parked") for table, key, ok in lines),
        )
    else:
        print("no row is parked")
    if not all(ok for *_, ok in lines):
        raise typer.Exit(1)


def _document(table: str, key: Key, ok: bool) -> dict[str, Any]:
    return {"table": table, "key": list(key), "folded": ok}
