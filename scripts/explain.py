"""`refold explain`: which events made a row of a query table, and whether it is what they make."""

from collections.abc import Iterator
from typing import Annotated, Final

import typer

from refold.infrastructure.checking.explaining import Explanation, Step
from refold.infrastructure.checking.explaining import explain as explained
from refold.infrastructure.checking.live import Drifted
from refold.scripts import options, output


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
    output.table(
        ("position", "time", "actor", "event", "row"),
        ((each.position, each.at, each.actor, each.type, _change(each)) for each in found.steps),
    )
    if found.parked:
        print(f"parked at event {found.parked.position}: {found.parked.error}; see refold retry")
    elif found.drifted:
        for line in differences(found.drifted):
            print(f"DIFFERENT at position {found.position}: {line}")
    else:
        print(f"the live row is what its events make, at position {found.position}")


def differences(drifted: Drifted) -> Iterator[str]:
    """Yield what is wrong with a live row, for a person."""
    if drifted.what == "changed":
        for name, cell in drifted.cells.items():
            live, folded = _texts(*cell)
            yield f"{name} is {live}; its events make {folded}"
    else:
        side = 0 if drifted.what == "unexplained" else 1
        cells = (f"{name} {_texts(*cell)[side]}" for name, cell in drifted.cells.items())
        said = "no event makes the row" if side == 0 else "the row is missing that its events make"
        yield ", ".join([said, *cells])


def _change(step: Step) -> str:
    if step.what not in ("appears", "changes"):
        return step.what
    cells = (
        f"{name}: {' -> '.join(_texts(before, after)[step.what == 'appears' :])}"
        for name, (before, after) in step.cells.items()
    )
    return f"{step.what}  {', '.join(cells)}"


# --- cells ------------------------------------------------------------------------

LONGEST: Final = 60
"""Characters of a cell that are shown; `--json` has them all."""

_BEFORE: Final = 20


def _texts(one: object, other: object) -> tuple[str, str]:
    """Return two cells as a person sees them: long ones from where they begin to differ."""
    shown = repr(one), repr(other)
    same = next(
        (n for n, (a, b) in enumerate(zip(*shown, strict=False)) if a != b), min(map(len, shown))
    )
    first = max(0, same - _BEFORE) if max(map(len, shown)) > LONGEST else 0
    return _cut(shown[0], first), _cut(shown[1], first)


def _cut(text: str, first: int) -> str:
    if len(text) <= LONGEST:
        return text
    last = first + LONGEST
    return f"{'…' if first else ''}{text[first:last]}{'…' if last < len(text) else ''}"
