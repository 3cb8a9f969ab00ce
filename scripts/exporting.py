"""`refold export`: write data in a legacy store's own format, or a table for a spreadsheet."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from refold.domain.errors import BadInput
from refold.infrastructure.folding import parked
from refold.infrastructure.legacy.git_proxy.exporting import Format, export_git_proxy
from refold.infrastructure.legacy.pinshare.exporting import export_pinshare
from refold.infrastructure.store import Store
from refold.infrastructure.table_files import write_csv, write_jsonl
from refold.scripts import lines, options, output

app = typer.Typer(
    help="Write data in a legacy store's own format, or a table.", no_args_is_help=True
)


@app.callback()
def legacy() -> None:
    """Write data in a legacy store's own format, or a table as CSV or JSON lines."""


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
    if file.is_dir():
        raise BadInput(f"{file} cannot be written: it is a folder")
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


@app.command("git-proxy")
def git_proxy(
    folder: Annotated[Path, typer.Argument(help="Where the files go; it is made if need be.")],
    format: Annotated[
        Format, typer.Option(help="nedb for git-proxy's own files, mongoexport for mongoimport.")
    ] = "nedb",
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Write users, repositories, pushes and migrations as git-proxy loads them; not sessions.

    The files hold the hashes of passwords, and only their owner can read them.

    Example: refold export git-proxy backup --store sqlite:///proxy.db
    """
    with options.opened(store, config) as opened:
        counts = export_git_proxy(opened, folder, format)
    if json:
        output.document({"folder": str(folder), "documents": counts})
    else:
        for collection, count in counts.items():
            print(f"{count} {collection} in {folder}")


@app.command()
def csv(
    table: Annotated[str, typer.Argument(help="A query table, such as pushes.")],
    store: options.Address = None,
    config: options.Config = None,
) -> None:
    """Write a query table on stdout as CSV with a header; null is an empty field.

    Example: refold export csv file_tags --store sqlite:///files.db > file_tags.csv
    """
    options.projections([table])
    with options.opened(store, config) as opened:
        write_csv(opened, table, sys.stdout)
        _tell_parked(opened, table)


@app.command()
def jsonl(
    table: Annotated[str, typer.Argument(help="A query table, such as pushes.")],
    store: options.Address = None,
    config: options.Config = None,
) -> None:
    """Write a query table on stdout, one JSON object a line.

    Example: refold export jsonl users --store sqlite:///proxy.db | head
    """
    options.projections([table])
    with options.opened(store, config) as opened:
        write_jsonl(opened, table, sys.stdout)
        _tell_parked(opened, table)


def _tell_parked(store: Store, table: str) -> None:
    """Say on stderr when rows that were written are not up to date."""
    with store.tables.reading() as connection:
        waiting = parked.count(connection, store.tables.current(connection)[table])
    if waiting:
        print(lines.not_up_to_date(table, waiting), file=sys.stderr)
