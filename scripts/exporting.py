"""`refold export`: write the data in a legacy store's own format."""

import os
from pathlib import Path
from typing import Annotated

import typer

from refold.domain.errors import BadInput
from refold.infrastructure.legacy.exporting import export_pinshare
from refold.scripts import options, output

app = typer.Typer(help="Write the data in a legacy store's own format.", no_args_is_help=True)


@app.callback()
def legacy() -> None:
    """Write the data in a legacy store's own format."""


@app.command()
def pinshare(
    file: Annotated[Path, typer.Argument(help="Where the metadata.json goes.")],
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Write all files as PinShare's metadata.json; the file is there whole or not at all.

    Example: refold export pinshare metadata.json --store sqlite:///files.db
    """
    unfinished = file.with_name(f"{file.name}.{os.getpid()}.part")
    try:
        with (
            options.opened(store, config) as opened,
            unfinished.open("x", encoding="utf-8", newline="") as out,
        ):
            records = export_pinshare(opened, out)
        unfinished.replace(file)
    except OSError as error:
        raise BadInput(f"{file} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)
    if json:
        output.document({"records": records, "file": str(file)})
    else:
        print(f"{records} records in {file}")
