"""`refold drift`: compare samples of the live rows with what the log makes of them."""

import secrets
from typing import Annotated

import typer

from refold.infrastructure.checking.drift import find_drift
from refold.scripts import lines, options, output
from refold.scripts.explain import differences


def drift(
    tables: options.Tables = None,
    sample: Annotated[
        int, typer.Option(min=1, help="Events, and live rows of each table, that are drawn.")
    ] = 1_000,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Draw what was drawn before [default: random].", show_default=False
        ),
    ] = None,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Fold sampled rows again, and compare them with the live ones; exit code 3 when some differ.

    A table that cannot go on, at an event that cannot be read or because another version fills it,
    is told and not compared; exit code 1 when none of the others differ.

    Rows are drawn from both sides: those that random events of the log touched, and random live
    ones. A sample as large as the log compares every row that an event ever touched. Rows that are
    parked are counted apart. The search index is not compared. --seed draws the same rows
    again as long as the store is as it was.

    Example: refold drift files file_tags --sample 10000 --store sqlite:///files.db
    """
    chosen = options.projections(tables)
    seed = secrets.randbelow(2**32) if seed is None else seed
    with options.opened(store, config) as opened:
        checked = find_drift(opened, chosen, sample, seed)
    if json:
        output.document({"seed": seed, "tables": [each.document() for each in checked]})
    else:
        output.table(
            ("table", "position", "rows", "parked", "drifted"),
            (
                (each.table, str(each.positions), each.rows, each.parked, len(each.drifted))
                for each in checked
                if not each.blocked
            ),
        )
        for each in checked:
            if each.blocked:
                print(lines.prose(f"{each.table} is not compared: {each.blocked}"))
            for row in each.drifted:
                print(lines.parts(each.table, output.shown(row.key)))
                for line in differences(row):
                    print(line)
        print(f"seed {seed}")
    if any(each.drifted for each in checked):
        raise typer.Exit(3)
    if any(each.blocked for each in checked):
        raise typer.Exit(1)
