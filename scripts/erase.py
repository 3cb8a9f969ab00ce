"""`refold erase`: forget a person, and certify what is left of them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from refold.infrastructure.address import Archive
from refold.infrastructure.erasing import erasing, person
from refold.infrastructure.erasing.certificate import Certificate
from refold.infrastructure.moving import keeping
from refold.infrastructure.store import Store
from refold.scripts import options, output

app = typer.Typer(help="Forget a person.", no_args_is_help=True)


@app.callback()
def _erase() -> None:
    """Forget a person: what was sealed of them, and what was folded from that."""


@app.command()
def user(
    name: Annotated[str, typer.Argument(metavar="NAME", help="User name, or else the id.")],
    by_id: Annotated[bool, typer.Option("--id", help="NAME is the id.")] = False,
    archive: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="An archive to look into as well; may be repeated."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the certificate in a file, too.")
    ] = None,
    actor: Annotated[str, typer.Option(help="Who asks; kept with the events.")] = "refold",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done, and change nothing.")
    ] = False,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Destroy the key of a user, clear what was folded from it, and look for what is left.

    Sessions end, roles in repositories go, uploads are deleted, and contents that nobody else uses
    are removed from the place for blobs that the store names: another store that shares it loses
    them, too. Then the log, all query tables, search indexes and the archives that are named are
    scanned for what was sealed; on SQLite the files as well, without free pages. The log is never
    changed: names and keys in its events stay, and pushes, which are audit evidence; both are
    listed. Exit code 3 when something else is found. There is no way back. Asked for again, it
    does what is left to do, and scans for what is still known.

    Example: refold erase user ada --archive backup.zst --certificate ada.json
    """
    places = [Archive(path) for path in archive or ()]
    with options.opened(store, config) as opened:
        keeping.check_place(certificate, opened.address, *places)
        who = person.find_by_id(opened, name) if by_id else person.find(opened, name)
        if dry_run:
            _tell_plan(opened, who, json=json)
            return
        with output.progress() as advance:
            made = erasing.erase(opened, who, places, actor=actor, progress=advance)
    if json:
        output.document(made.document())
    else:
        _show(made)
    if certificate:
        keeping.write(certificate, made)
    if not made.clean:
        raise typer.Exit(3)


def _tell_plan(store: Store, who: person.Person, *, json: bool) -> None:
    with output.progress() as advance:
        theirs = person.belongings(store, who.names, advance)
    plan: dict[str, Any] = {
        "stream": who.stream,
        "erased_before": who.again,
        "sessions": len(theirs.sessions),
        "roles": len(theirs.roles),
        "uploads": len(theirs.uploads),
    }
    if json:
        output.document(plan)
    else:
        output.table(("would be erased", ""), plan.items())


def _show(made: Certificate) -> None:
    when = f"{made.erased_at}, position {made.position}"
    print(f"{made.stream} was erased before: {when}" if made.again else f"{made.stream}: {when}")
    blobs = f"{made.blobs_removed} removed, {made.blobs_kept} kept for others"
    rows: list[tuple[str, object]] = [
        ("sessions ended", made.sessions),
        ("roles revoked", made.roles),
        ("uploads deleted", made.uploads),
        ("blobs", blobs),
        ("generations dropped", ", ".join(made.generations_dropped) or 0),
        ("sought", ", ".join(f"{n} {what}" for what, n in made.sought.items()) or "nothing"),
        ("shared, not sought", made.shared),
        *(("not sought", what) for what in made.not_sought),
        *((f"scanned: {what}", count) for what, count in made.scanned.items()),
        *((f"kept: {type}", _named(naming.events)) for type, naming in sorted(made.named.items())),
        *(("kept as evidence", stream) for stream in made.pushes),
        *(("not scanned", what) for what in made.not_scanned),
    ]
    output.table(("", ""), rows)
    for each in made.found:
        print(f"FOUND: {each.what} in {each.table}, {each.column}: {output.shown(each.key)}")
    if made.more:
        print(f"FOUND: {made.more} more")
    if made.clean:
        print("nothing was found of what was sought" if made.not_sought else "nothing else is left")
    else:
        print("NOT CLEAN")


def _named(events: int) -> str:
    return f"{events} {'event' if events == 1 else 'events'} in the clear"
