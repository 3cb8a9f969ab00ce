"""`refold status`: where a store stands."""

from dataclasses import asdict

import typer

from refold.infrastructure.folding.parked import Waiting
from refold.infrastructure.status import ProjectionStatus, Status
from refold.infrastructure.status import status as where_it_stands
from refold.scripts import lines, options, output


def status(
    store: options.Address = None, config: options.Config = None, json: options.AsJson = False
) -> None:
    """Print where the log and each query table stand. Folds nothing.

    Of rows that are parked it tells how many there are, and of the first why and since when. Exit
    code 1 when a table is stopped or stale, or has rows that are parked.

    Example: refold status --store sqlite:///files.db --json
    """
    with options.opened(store, config) as opened:
        found = where_it_stands(opened)
    if json:
        partitions = [{"partition": number, "position": end} for number, end in found.partitions]
        tables = [
            asdict(each) | {"position": each.positions.document()} for each in found.projections
        ]
        for each in tables:
            del each["positions"]
        output.document(asdict(found) | {"partitions": partitions, "projections": tables})
    else:
        _show(found)
    if not all(each.is_well for each in found.projections):
        raise typer.Exit(1)


def _show(found: Status) -> None:
    print(f"store {found.store_id} ({found.engine})")
    print(f"log {found.log_id}: {found.state}")
    if found.successor:
        print(lines.parts("moved to", found.successor))
    for partition, position in found.partitions:
        print(f"partition {partition} at position {position}")
    output.table(
        ("table", "generation", "position", "lag", "state"),
        (
            (each.name, each.generation, str(each.positions), each.lag, _state(each))
            for each in found.projections
        ),
    )
    for each in found.projections:
        if each.why:
            print(lines.prose(f"{each.name} is stopped: {each.why}"))
        if each.parked:
            rows = Waiting(each.parked, tuple(each.parked_rows))
            print(lines.waiting(each.name, rows, each.positions))


def _state(table: ProjectionStatus) -> str:
    return f"{table.state}, {table.parked} parked" if table.parked else table.state
