"""`refold import`: bring a legacy store's data into the log."""

from pathlib import Path
from typing import Annotated

import typer

from refold.infrastructure.legacy.importing import import_pinshare
from refold.scripts import options, output

app = typer.Typer(help="Bring a legacy store's data into the log.", no_args_is_help=True)


@app.callback()
def legacy() -> None:
    """Bring a legacy store's data into the log."""


@app.command()
def pinshare(
    file: Annotated[Path, typer.Argument(help="A metadata.json, or one packed as .gz.")],
    source: Annotated[
        str, typer.Option(help="Name of the store that the file is from; its last import counts.")
    ] = "pinshare",
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Import PinShare's metadata.json; again, it imports only what has changed.

    The store is made if there is none. Each record is imported, unchanged, or refused with the
    reason; a truncated file is refused whole.

    Example: refold import pinshare metadata.json --store sqlite:///files.db
    """
    with options.opened(store, config, create=True) as opened, output.progress() as advance:
        report = import_pinshare(
            opened, file, source=source, progress=lambda done: advance("import", done, None)
        )
    if json:
        output.document(
            {
                "records": report.records,
                "imported": report.imported,
                "unchanged": report.unchanged,
                "refused": [{"key": key, "reason": reason} for key, reason in report.refused],
                "notes": [{"key": key, "note": note} for key, note in report.notes],
                "events": report.events,
                "seconds": round(report.seconds, 3),
            }
        )
        return
    print(
        f"{report.records} records: {report.imported} imported, {report.unchanged} unchanged,"
        f" {len(report.refused)} refused; {report.events} events in {report.seconds:.1f} s"
    )
    for key, reason in report.refused:
        print(f"refused {key}: {reason}")
    for key, note in report.notes:
        print(f"note on {key}: {note}")
