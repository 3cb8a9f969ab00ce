"""`refold status`: where a store stands."""

from dataclasses import asdict

from refold.infrastructure import queries
from refold.scripts import options, output


def status(
    store: options.Address = None, config: options.Config = None, json: options.AsJson = False
) -> None:
    """Print where the log and each query table stand. Folds nothing.

    Example: refold status --store sqlite:///files.db --json
    """
    with options.opened(store, config) as opened:
        found = queries.status(opened)
    if json:
        output.document(
            asdict(found)
            | {
                "partitions": [
                    {"partition": partition, "position": position}
                    for partition, position in found.partitions
                ]
            }
        )
        return
    moved = f", moved to {found.successor}" if found.successor else ""
    print(f"store {found.store_id} ({found.engine}), log {found.log_id}: {found.state}{moved}")
    for partition, position in found.partitions:
        print(f"partition {partition} at position {position}")
    output.table(
        ("table", "generation", "position", "lag", "state"),
        (
            (each.name, each.generation, each.position, each.lag, each.state)
            for each in found.projections
        ),
    )
