"""`refold rebuild`: fold query tables again beside the live ones, compare, switch, and go back."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from time import monotonic
from typing import Annotated, Any

import typer

from refold.infrastructure.folding import workers
from refold.infrastructure.folding.generations import PREVIOUS, Generation
from refold.infrastructure.folding.rebuilding import Comparison
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.projection import Projection
from refold.scripts import lines, options, output


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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what --drop-old would remove.")
    ] = False,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Fold tables again from the first event, beside the live ones, and put them in place.

    The new rows are compared with the live ones at one position before the switch; exit code 3
    when some differ, 1 when some could not be folded. It is 3, too, when a live table of this
    version was folded from another log and cannot be compared; no live table, or one of another
    version, is none to compare with. Readers see the old table until the new one is there. With
    --no-switch the new tables stay beside; the same command without it goes on with them. A rebuild
    that was broken off goes on where it was. The tables before are kept for --rollback.

    Events wait in files of the folder for temporary files (TMPDIR) when the log is long.

    Example: refold rebuild files --no-switch --store sqlite:///files.db
    """
    if rollback and drop_old:
        raise typer.BadParameter("--rollback needs what --drop-old removes")
    if not switch and (rollback or drop_old):
        raise typer.BadParameter("--no-switch is for what is folded, not --rollback or --drop-old")
    if everything and tables:
        raise typer.BadParameter("--all is for when no table is named")
    if dry_run and not drop_old:
        raise typer.BadParameter("--dry-run is for --drop-old; --no-switch shows what would differ")
    chosen = options.projections(tables)
    with options.opened(store, config) as opened:
        if rollback:
            kept = chosen if tables else [each.projection for each in _previous(opened)]
            _roll_back(opened, kept, json=json)
        elif drop_old:
            _drop_old(opened, chosen, dry_run=dry_run, json=json)
        else:
            _rebuild(opened, chosen, number, samples, switch=switch, json=json)


def _rebuild(
    store: Store,
    chosen: Sequence[Projection],
    processes: int | None,
    samples: int,
    *,
    switch: bool,
    json: bool,
) -> None:
    started, pause = monotonic(), None
    with workers.helping(store, processes), output.progress() as advance:
        shadows = store.rebuilder.fill(chosen, advance)
    compared = store.rebuilder.compare(shadows, samples, digests=json)
    unsure = _unsure(store, compared)
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
        again = f"refold rebuild {_named(chosen)}"
        print(lines.parts("beside the live ones; to put them in place:", again))
    else:
        print(f"switched; folding paused for {1_000 * pause:.0f} ms")
    if any(each.parked for each in compared):
        raise typer.Exit(1)
    if unsure or any(each.is_equal is False for each in compared):
        raise typer.Exit(3)


def _unsure(store: Store, compared: Sequence[Comparison]) -> bool:
    """Tell whether a table of this version is live, and could not be compared all the same."""
    with store.tables.reading() as connection:
        live = store.tables.current(connection)
    return any(
        each.is_equal is None and each.name in live and live[each.name].is_of_this_version
        for each in compared
    )


def _named(chosen: Sequence[Projection]) -> str:
    return "--all" if len(chosen) == len(catalog.ALL) else " ".join(each.NAME for each in chosen)


def _previous(store: Store) -> list[Generation]:
    with store.tables.reading() as connection:
        generations = store.tables.generations(connection)
    return [each for each in generations if each.state == PREVIOUS]


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


def _drop_old(store: Store, chosen: Sequence[Projection], *, dry_run: bool, json: bool) -> None:
    if dry_run:
        old = [each for each in _previous(store) if each.projection in chosen]
    else:
        old = store.rebuilder.drop(chosen, PREVIOUS)
    names = [f"{each.projection.NAME}_{each.number}" for each in old]
    if json:
        output.document({"would_drop" if dry_run else "dropped": names})
        return
    for name in names:
        print(f"{'would drop' if dry_run else 'dropped'} {name}")
    if not names:
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
    parked = f", {compared.parked} parked" if compared.parked else ""
    return {None: "not compared", True: "equal", False: "DIFFERENT"}[compared.is_equal] + parked


def _changes(compared: Comparison) -> Iterator[str]:
    name, found = compared.name, compared.difference
    if found is None:
        yield lines.prose(f"{name}: not compared: {compared.why}")
    if not found:
        return
    yield f"{name}: {found.added} added, {found.removed} removed, {found.changed} changed"
    yield from (f"{name}.{column}: column dropped" for column in found.dropped)
    yield from (f"{name}.{column}: column new" for column in found.new)
    yield from (f"{name}.{column}: {count} cells" for column, count in found.cells.items())
    for change in found.samples:
        key = output.shown(change.key)
        if change.before is None:
            yield lines.parts(f"+ {name}", key)
        elif change.after is None:
            yield lines.parts(f"- {name}", key)
        else:
            cells = [
                lines.changed(each, change.before[each], change.after[each])
                for each in change.after
            ]
            yield lines.listed(lines.parts(f"~ {name}", key), cells)


def document(compared: Comparison) -> dict[str, Any]:
    """Return a comparison as `--json` prints it."""
    found = compared.difference
    return {
        "name": compared.name,
        "generation": compared.generation,
        "position": compared.positions.document(),
        "rows": compared.rows,
        "parked": compared.parked,
        "digest": compared.digest.hex if compared.digest else None,
        "equal_to_previous": compared.is_equal,
        "why_not_compared": compared.why or None,
        "difference": asdict(found) if found is not None else None,
    }
