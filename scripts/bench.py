"""`refold bench`: speed as ratios to references measured in the same run."""

from time import monotonic
from typing import Annotated

import typer

from refold.scripts import options, output
from refold.scripts.measure import machine, site
from refold.scripts.measure.catalog import ALL
from refold.scripts.measure.row import Result

NAMES = ", ".join(row.name for row in ALL)


def bench(
    rows: Annotated[
        list[str] | None,
        typer.Option(help=f"What to measure: {NAMES}; may be repeated [default: all]."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds on 100 000 events.")] = False,
    events: Annotated[
        int | None,
        typer.Option(min=1_000, help="Length of the logs [default: 1 000 000, quick 100 000]."),
    ] = None,
    postgres: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A PostgreSQL server [default: a throw-away one]."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Measure refold against real references, in turn, and say which goals it reaches.

    A row is a median of ratios, or of seconds or MB, over several rounds. What can be compared
    is: a wrong result reaches no goal. Exit code 3 when there was one.

    Example: refold bench --quick --rows rebuild --rows copy
    """
    chosen = [row for row in ALL if not rows or row.name in rows]
    if unknown := sorted(set(rows or ()) - {row.name for row in chosen}):
        raise typer.BadParameter(f"there is no row {unknown[0]}; there are {NAMES}")
    started = monotonic()
    with (
        output.progress() as advance,
        site.prepared(
            postgres,
            events=events or (100_000 if quick else 1_000_000),
            quick=quick,
            progress=advance,
        ) as place,
    ):
        versions = machine.versions(place)
        results = [Result(row, row.measure(place)) for row in chosen]
    if json:
        output.document(
            {
                "commit": machine.commit(),
                "machine": machine.machine(),
                "versions": versions,
                "quick": quick,
                "events": place.events,
                "rows": [result.document() for result in results],
                "seconds": round(monotonic() - started, 3),
            }
        )
    else:
        _show(results)
    if not all(result.correct for result in results):
        raise typer.Exit(3)


def _show(results: list[Result]) -> None:
    output.table(
        ("row", "median", "range", "unit", "goal", "reached", "figures"),
        (
            (
                result.row.name,
                f"{result.value:.2f}",
                f"{min(result.measured.values):.2f} to {max(result.measured.values):.2f}",
                result.row.goal.unit,
                f"{result.row.goal.kind} {result.row.goal.value:g}",
                "yes" if result.reached else "NO",
                ", ".join(f"{name}: {value}" for name, value in result.measured.figures.items()),
            )
            for result in results
        ),
    )
    for result in results:
        for difference in result.measured.differences:
            print(f"WRONG: {result.row.name}: {difference}")
