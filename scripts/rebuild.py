"""`refold rebuild`: fold query tables again from the first event."""

from collections.abc import Sequence
from os import cpu_count
from time import monotonic
from typing import Annotated

import typer

from refold.infrastructure.folding import workers
from refold.infrastructure.folding.folder import Rebuilt
from refold.projections import catalog
from refold.scripts import options, output


def rebuild(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Which tables [default: all].", show_default=False)
    ] = None,
    number: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            help="Processes that fold [default: processors].",
            show_default=False,
        ),
    ] = None,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Fold tables again from the first event, beside the live ones, and put them in place.

    Readers see the old table until the new one is there. A rebuild that was broken off goes on
    where it was. The result says whether the new rows are the same as the old ones; exit code 3
    when some are not.

    Events wait in files of the folder for temporary files (TMPDIR) when the log is long.

    Example: refold rebuild files --store sqlite:///files.db
    """
    chosen = [each for each in catalog.ALL if not tables or each.NAME in tables]
    if unknown := sorted(set(tables or ()) - {each.NAME for each in chosen}):
        known = ", ".join(each.NAME for each in catalog.ALL)
        raise typer.BadParameter(f"there is no table {unknown[0]}; there are {known}")
    started = monotonic()
    with (
        options.opened(store, config) as opened,
        workers.started(opened.address, number or cpu_count() or 1) as processes,
        output.progress() as advance,
    ):
        rebuilt = opened.folder.rebuild(chosen, advance, processes)
    if json:
        rows = [
            {
                "name": each.name,
                "generation": each.generation,
                "rows": each.digest.rows,
                "digest": each.digest.hex,
                "equal_to_previous": each.equal_to_previous,
            }
            for each in rebuilt
        ]
        output.document({"tables": rows, "seconds": round(monotonic() - started, 3)})
    else:
        _show(rebuilt)
    if any(each.equal_to_previous is False for each in rebuilt):
        raise typer.Exit(3)


def _show(rebuilt: Sequence[Rebuilt]) -> None:
    words = {True: "equal", False: "DIFFERENT", None: "nothing to compare with"}
    output.table(
        ("table", "generation", "rows", "digest", "compared with the previous one"),
        (
            (
                each.name,
                each.generation,
                each.digest.rows,
                f"{each.digest.hex:.16}…",
                words[each.equal_to_previous],
            )
            for each in rebuilt
        ),
    )
