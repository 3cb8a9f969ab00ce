"""`refold import`: bring a legacy store's data into the log."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

import typer

from refold.infrastructure import config as configuration
from refold.infrastructure.address import POSTGRES, Postgres, check_path
from refold.infrastructure.folding import workers
from refold.infrastructure.legacy.decentcom import importing as decentcoms
from refold.infrastructure.legacy.decentcom.source import read as read_decentcom
from refold.infrastructure.legacy.eventsourcing.importing import import_eventsourcing
from refold.infrastructure.legacy.git_proxy import importing as git_proxies
from refold.infrastructure.legacy.git_proxy.reading import open_source
from refold.infrastructure.legacy.importing import Report
from refold.infrastructure.legacy.pinshare import importing as pinshare_files
from refold.infrastructure.open import check_blobs, check_key, open_at
from refold.infrastructure.progress import Progress
from refold.infrastructure.store import Store
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
    number: options.Workers = None,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Import PinShare's metadata.json; again, it imports only what has changed.

    The store is made if there is none. Each record is imported, unchanged, or refused with the
    reason; a truncated file is refused whole.

    Example: refold import pinshare metadata.json --store sqlite:///files.db
    """
    check_path(file)
    records = pinshare_files.checked(file)
    with _importing(store, config, number, is_sealed=False) as (opened, advance):
        report = pinshare_files.import_checked(opened, records, source=source, progress=advance)
    _show(report, json=json)


@app.command("git-proxy")
def git_proxy(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH...",
            help="A folder of NeDB files or of mongoexport's, single files (.gz too), or the"
            " address of git-proxy's own PostgreSQL.",
        ),
    ],
    source: Annotated[
        str, typer.Option(help="Name of the store that they are from; its last import counts.")
    ] = "git-proxy",
    number: options.Workers = None,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Import git-proxy's users, repositories, pushes, sessions and migrations.

    Again, it imports only what has changed. Each document is imported, unchanged, or refused with
    the reason; decisions that were made here stay. Who has a role and is no user is listed.

    Example: refold import git-proxy .data/db --store sqlite:///proxy.db
    """
    settings = configuration.read(store, config)
    checked = open_source([_place(each, settings) for each in paths])
    is_sealed = git_proxies.is_sealed(checked)
    with _importing(store, config, number, is_sealed=is_sealed) as (opened, advance):
        report = git_proxies.import_source(opened, checked, source=source, progress=advance)
    _show(report, json=json)


@app.command()
def decentcom(
    file: Annotated[Path, typer.Argument(help="decentcom's database, or one packed as .gz.")],
    media: Annotated[
        Path | None, typer.Option(help="The folder of uploads; without it none is imported.")
    ] = None,
    source: Annotated[
        str, typer.Option(help="Name of the store that it is from; its last import counts.")
    ] = "decentcom",
    number: options.Workers = None,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Import decentcom's users, devices, sessions, media and attachments.

    Again, it imports only what has changed. Uploads whose bytes are missing, or are not what their
    hash says, are refused by name. The rows of the chat are counted, and not imported yet.

    Example: refold import decentcom decentcom.db --media media --store sqlite:///chat.db
    """
    check_path(file)
    with (
        read_decentcom(file, media) as checked,
        _importing(
            store,
            config,
            number,
            is_sealed=decentcoms.is_sealed(checked),
            has_media=checked.has_media,
        ) as (opened, advance),
    ):
        report = decentcoms.import_source(
            opened, checked, file.name, source_name=source, progress=advance
        )
    _show(report, json=json)


@app.command()
def eventsourcing(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="postgresql://…, with ?schema= if need be, or sqlite:///FILE."
        ),
    ],
    application: Annotated[
        str, typer.Option(help="Name of the application whose tables have none: stored_events.")
    ] = "",
    text_ids: Annotated[
        bool,
        typer.Option("--text-ids", help="Ids in SQLite are texts, though all look like UUIDs."),
    ] = False,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Import the eventsourcing library's own tables: events, snapshots and trackings.

    Each application, by the names of the tables, has a store below the address: a file in a folder,
    or a schema. Again, only what is new is imported. Notification ids become positions without a
    hole, and trackings follow them. Who connects to the store, and with which password, is not said
    of this server: see PGUSER, PGPASSWORD and PGPASSFILE. How connections are secured is.

    Example: refold import eventsourcing postgresql:///shop --store sqlite:///stores
    """
    settings = configuration.read(store, config)
    with output.progress() as advance:
        imported = import_eventsourcing(
            settings.address(),
            settings.storage.elsewhere(url),
            has_schema="schema" in parse_qs(urlsplit(url).query),
            named=application,
            text_ids=text_ids,
            progress=advance,
        )
    if json:
        output.document({"applications": [each.document() for each in imported]})
        return
    for each in imported:
        print(f"{each.name} into {each.store}: {each.snapshots} snapshots,", end=" ")
        print(f"{len(each.trackings)} applications processed")
        _show(each.report, json=False)


def _place(given: str, settings: configuration.Settings) -> Path | Postgres:
    """Return the file, folder or database that a person named."""
    match settings.storage.elsewhere(given) if given.startswith(POSTGRES) else None:
        case Postgres() as place:
            return place
    path = Path(given)
    check_path(path)
    return path


@contextmanager
def _importing(
    store: str | None,
    config: Path | None,
    processes: int | None,
    *,
    is_sealed: bool,
    has_media: bool = False,
) -> Iterator[tuple[Store, Progress]]:
    """Give the store, its tables built by so many processes, and what shows how far it is.

    It is made last: the source was checked, the key is at hand where something is to be sealed,
    and there is a place for media, if they are to be imported.
    """
    settings = configuration.read(store, config)
    place = settings.address()
    if is_sealed:
        check_key(place, settings)
    if has_media:
        check_blobs(place, settings)
    with (
        open_at(place, create=True, settings=settings) as opened,
        workers.helping(opened, processes),
        output.progress() as advance,
    ):
        yield opened, advance


def _show(report: Report, *, json: bool) -> None:
    if json:
        output.document(
            {
                "records": report.records,
                "imported": report.imported,
                "unchanged": report.unchanged,
                "refused": [refusal._asdict() for refusal in report.refused],
                "notes": [{"key": key, "note": note} for key, note in report.notes],
                "left_out": report.left_out,
                "events": report.events,
                "seconds": round(report.seconds, 3),
            }
        )
        return
    print(
        f"{report.records} records: {report.imported} imported, {report.unchanged} unchanged,"
        f" {len(report.refused)} refused; {report.events} events in {report.seconds:.1f} s"
    )
    for key, file, line, reason in report.refused:
        print(f"refused {file}:{line} {key}: {reason}")
    for key, note in report.notes:
        print(f"note on {key}: {note}")
    for table, rows in report.left_out.items():
        print(f"not yet imported: {rows} rows of {table}")
