"""`refold explain`: which events made a row of a query table, and whether it is what they make."""

from collections.abc import Iterator, Sequence
from typing import Annotated

import typer

from refold.infrastructure.checking.explaining import Explanation, Step
from refold.infrastructure.checking.explaining import explain as explained
from refold.infrastructure.checking.live import Drifted
from refold.scripts import lines, options, output


def explain(
    table: Annotated[str, typer.Argument(help="A query table, such as file_tags.")],
    key: Annotated[
        list[str], typer.Argument(help="The key of the row, one argument a column of it.")
    ],
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Tell which events made a row, what each changed, and compare the live row with them.

    Exit code 1 when the live row has a cell that no event explains, is missing though events made
    it, is there though none did, or is parked. The comparison is made where the table stands;
    events behind that are shown, too. What only the vault reads is shown as (sealed).

    A push is named by its stream, or by any id that it ever had.

    At an event that cannot be read it stops, says where and why, and exits with 1.

    Example: refold explain file_tags 2cf24dba… physics --store sqlite:///files.db
    """
    [projection] = options.projections([table])
    columns = [column.name for column in projection.TABLE.primary_key.columns]
    if len(key) != len(columns):
        raise typer.BadParameter(
            f"a row of {table} has the key {' '.join(columns)}: {len(columns)} arguments, not"
            f" {len(key)}"
        )
    with options.opened(store, config) as opened:
        found = explained(opened, projection, tuple(key))
    if json:
        output.document(found.document())
    else:
        _show(found)
    if not found.is_well:
        raise typer.Exit(1)


def _show(found: Explanation) -> None:
    for step in found.steps:
        who = f" by {output.shown([step.actor])}" if step.actor else ""
        print(lines.parts(f"event {found.named(step.position)}, {step.at}:", f"{step.type}{who}"))
        print(lines.listed(step.what, _cells(step), indent="  "))
    if found.stopped:
        stop = found.stopped
        where = found.named(stop.position)
        print(lines.prose(f"STOPPED before event {where}, {stop.type}: {stop.reason}"))
    here = found.named(found.position)
    if found.parked:
        where = found.named(found.parked.position)
        why = f"parked at event {where}: {found.parked.error}; see refold retry"
        print(lines.prose(why))
    elif found.drifted:
        print(f"DIFFERENT at position {here}")
        for line in differences(found.drifted):
            print(line)
    elif found.compared:
        print(f"the live row is what its events make, at position {here}")
    else:
        print(f"the live row, at position {here}, cannot be compared")


def differences(drifted: Drifted) -> Iterator[str]:
    """Yield what is wrong with a live row, for a person, indented."""
    if drifted.what == "changed":
        for name, cell in drifted.cells.items():
            live, folded = lines.texts(*cell)
            yield lines.parts(f"{name} is {live};", f"its events make {folded}", indent="  ")
    else:
        side = 0 if drifted.what == "unexplained" else 1
        cells = [[f"{name} {lines.texts(*cell)[side]}"] for name, cell in drifted.cells.items()]
        said = "no event makes the row" if side == 0 else "the row is missing that its events make"
        yield lines.listed(f"{said}{',' if cells else ''}", cells, indent="  ")


def _cells(step: Step) -> list[Sequence[str]]:
    match step.what:
        case "appears":
            return [[f"{name}: {lines.texts(*each)[1]}"] for name, each in step.cells.items()]
        case "changes":
            return [lines.changed(name, *each) for name, each in step.cells.items()]
        case _:
            return []
