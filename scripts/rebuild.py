"""`refold rebuild`: fold query tables again beside the live ones, compare, switch, and go back."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from os import cpu_count
from time import monotonic
from typing import Annotated, Any

import typer

from refold.infrastructure.folding import workers
from refold.infrastructure.folding.generations import PREVIOUS
from refold.infrastructure.folding.rebuilding import Comparison
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.projection import Projection
from refold.scripts import options, output


def rebuild(
    tables: options.Tables = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All tables, as without a name.")
    ] = False,
    number: options.Workers = None,
    switch: Annotated[
        bool,
        typer.Option(
            "--switch/--no-switch",
            help="Put the new tables in place, or leave them beside the live ones.",
        ),
    ] = True,
    samples: options.Samples = 3,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Put the tables before the last switch in place.")
    ] = False,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="Remove what is kept for --rollback.")
    ] = False,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Fold tables again from the first event, beside the live ones, and put them in place.

    The new rows are compared with the live ones at one position before the switch; exit code 3
    when some differ, 1 when some could not be folded. Readers see the old table until the new one
    is there. With --no-switch the new tables stay beside; the same command without it goes on with
    them. A rebuild that was broken off goes on where it was. The tables before are kept for
    --rollback.

    Events wait in files of the folder for temporary files (TMPDIR) when the log is long.

    Example: refold rebuild files --no-switch --store sqlite:///files.db
    """
    if rollback and drop_old:
        raise typer.BadParameter("--rollback needs what --drop-old removes")
    if everything and tables:
        raise typer.BadParameter("--all is for when no table is named")
    chosen = options.projections(tables)
    with options.opened(store, config) as opened:
        if rollback:
            _roll_back(opened, chosen if tables else _with_a_previous_one(opened), json=json)
        elif drop_old:
            _drop_old(opened, chosen, json=json)
        else:
            _rebuild(opened, chosen, number or cpu_count() or 1, samples, switch=switch, json=json)


def _rebuild(
    store: Store,
    chosen: Sequence[Projection],
    processes: int,
    samples: int,
    *,
    switch: bool,
    json: bool,
) -> None:
    started, pause = monotonic(), None
    with workers.started(store.address, processes) as folding, output.progress() as advance:
        shadows = store.rebuilder.fill(chosen, advance, folding)
    compared = store.rebuilder.compare(shadows, samples)
    if not json:
        show(compared)
    if switch:
        pause = store.rebuilder.switch(shadows)
    if json:
        output.document(
            {
                "tables": [document(each) for each in compared],
                "switched": switch,
                "pause_seconds": pause,
                "seconds": round(monotonic() - started, 3),
            }
        )
    elif pause is None:
        print(f"beside the live ones; to put them in place: refold rebuild {_named(chosen)}")
    else:
        print(f"switched; folding paused for {1_000 * pause:.0f} ms")
    if any(each.parked for each in compared):
        raise typer.Exit(1)
    if any(each.is_equal is False for each in compared):
        raise typer.Exit(3)


def _named(chosen: Sequence[Projection]) -> str:
    return "--all" if len(chosen) == len(catalog.ALL) else " ".join(each.NAME for each in chosen)


def _with_a_previous_one(store: Store) -> list[Projection]:
    with store.tables.reading() as connection:
        generations = store.tables.generations(connection)
    return [each.projection for each in generations if each.state == PREVIOUS]


def _roll_back(store: Store, chosen: Sequence[Projection], *, json: bool) -> None:
    back = store.rebuilder.roll_back(chosen)
    if json:
        output.document(
            {
                "tables": [
                    {
                        "name": each.projection.NAME,
                        "generation": each.number,
                        "version": each.version,
                        "folds_on": each.is_of_this_version,
                    }
                    for each in back
                ]
            }
        )
        return
    for each in back:
        stays = (
            "" if each.is_of_this_version else f" of version {each.version}, which stays as it is"
        )
        print(f"{each.projection.NAME} is generation {each.number} again{stays}")
    if not back:
        print("no table has a previous generation")


def _drop_old(store: Store, chosen: Sequence[Projection], *, json: bool) -> None:
    dropped = store.rebuilder.drop(chosen, PREVIOUS)
    if json:
        output.document({"dropped": [f"{each.projection.NAME}_{each.number}" for each in dropped]})
        return
    for each in dropped:
        print(f"dropped {each.projection.NAME}_{each.number}")
    if not dropped:
        print("no table has a previous generation")


# --- what differs -----------------------------------------------------------------


def show(compared: Sequence[Comparison]) -> None:
    """Print which tables differ, and samples of what does."""
    output.table(
        ("table", "generation", "rows", "compared with the live one"),
        ((each.name, each.generation, each.rows, _verdict(each)) for each in compared),
    )
    for each in compared:
        for line in _changes(each):
            print(line)


def _verdict(compared: Comparison) -> str:
    found = compared.difference
    parked = f", {compared.parked} parked" if compared.parked else ""
    if found is None:
        return f"not compared: {compared.why}{parked}"
    if not found:
        return f"equal{parked}"
    columns = [f"column {name} dropped" for name in found.dropped]
    columns += [f"column {name} new" for name in found.new]
    counts = f"{found.added} added, {found.removed} removed, {found.changed} changed"
    return ", ".join(["DIFFERENT: " + counts, *columns]) + parked


def _changes(compared: Comparison) -> Iterator[str]:
    found = compared.difference
    if not found:
        return
    for column, count in found.cells.items():
        yield f"{compared.name}.{column}: {count} cells"
    for change in found.samples:
        key = output.shown(change.key)
        if change.before is None:
            yield f"+ {compared.name} {key}"
        elif change.after is None:
            yield f"- {compared.name} {key}"
        else:
            cells = (
                f"{name}: {change.before[name]!r} -> {change.after[name]!r}"
                for name in change.after
            )
            yield f"~ {compared.name} {key}  {', '.join(cells)}"


def document(compared: Comparison) -> dict[str, Any]:
    """Return a comparison as `--json` prints it."""
    found = compared.difference
    return {
        "name": compared.name,
        "generation": compared.generation,
        "position": compared.position,
        "rows": compared.rows,
        "parked": compared.parked,
        "equal_to_live": compared.is_equal,
        "why_not_compared": compared.why or None,
        "difference": asdict(found) if found is not None else None,
    }
