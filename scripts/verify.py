"""`refold verify`: check a store against its seals, or against another store."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from refold.infrastructure import anchors, config
from refold.infrastructure.address import archive
from refold.infrastructure.moving import keeping, verifying
from refold.infrastructure.open import open_at
from refold.scripts import archiving, certificates, options, output


def verify(
    store: Annotated[str, typer.Argument(help="Address of the store or archive.")],
    other: Annotated[
        str | None,
        typer.Argument(
            callback=options.given, help="Address of a store or archive to compare it with."
        ),
    ] = None,
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="FILE", help="A certificate to check it against."),
    ] = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key", metavar="PEM", help="The Ed25519 key that has to have signed that."
        ),
    ] = None,
    anchor: Annotated[
        str | None,
        typer.Option(
            "--anchor",
            metavar="FILE|s3://BUCKET/KEY",
            callback=options.given,
            help="Anchors to check it against.",
        ),
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", help="A refold.toml for the store."),
    ] = None,
    other_config: Annotated[
        Path | None,
        typer.Option("--other-config", metavar="FILE", help="A refold.toml for the other one."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Read every record, compare all seals, and say which block is damaged.

    Blobs that events refer to are read as well; those that none refers to are named. With a second
    store, compare the logs, claims, keys of sealed fields, blobs and tables of both. With a
    certificate, check that the store still is what a copy or move found; with anchors of refold
    seal, that its log still is what it was then and ends nowhere before. Of an archive, check
    every block; with a store, compare the log up to where the archive ends. --config and
    --other-config say where blobs are. Exit code 3 when something is damaged or differs.

    Example: refold verify sqlite:///files.db
    """
    if (certificate or anchor) and (other or (certificate and anchor)):
        raise typer.BadParameter("--certificate or --anchor is checked against one store")
    if public_key and not certificate:
        raise typer.BadParameter("--public-key is for --certificate")
    if other_config and not other:
        raise typer.BadParameter("--other-config is for a second store")
    if (archive(store) and config_file) or (archive(other or "") and other_config):
        raise typer.BadParameter("an archive has no refold.toml: it is a file by itself")
    if certificate:
        _tell(_against(store, config_file, keeping.read(certificate, public_key)), json=json)
        return
    if anchor:
        _tell(_against_anchors(store, config_file, anchor), json=json)
        return
    if first_archive := archive(store):
        archiving.verify(first_archive, other, other_config, json=json)
        return
    if second_archive := archive(other or ""):
        archiving.verify(second_archive, store, config_file, json=json)
        return
    with options.opened(store, config_file) as first, output.progress() as advance:
        if other:
            with options.opened(other, other_config) as second:
                compared = verifying.compare(first, second, advance)
            certificates.report(compared, json=json)
            return
        report = verifying.verify(first, advance)
    if json:
        output.document(report.document())
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(3)


def _against(store: str, file: Path | None, certificate: dict[str, Any]) -> list[str]:
    with options.opened(store, file) as opened, output.progress() as advance:
        return keeping.check(opened, certificate, advance)


def _against_anchors(store: str, file: Path | None, anchor: str) -> list[str]:
    settings = config.read(store, file)
    place = anchors.place(anchor, settings)
    with open_at(settings.address(), settings=settings) as opened, output.progress() as advance:
        return anchors.check(opened, place, advance)


def _tell(differences: Sequence[str], *, json: bool) -> None:
    if json:
        output.document({"equal": not differences, "differences": differences})
    else:
        for difference in differences:
            print(f"difference: {difference}")
        print("NOT EQUAL" if differences else "equal")
    if differences:
        raise typer.Exit(3)


def _show(report: verifying.Report) -> None:
    print(f"log {report.log_id} up to position {report.positions}")
    for each in report.ends:
        of = f" {each.partition}" if len(report.ends) > 1 else ""
        print(f"chain{of} {each.chain.hex()}")
    output.table(
        ("table", "rows", "digest"),
        ((name, digest.rows, f"{digest.hex:.16}…") for name, digest in report.tables),
    )
    if report.trackings.applications:
        print(f"events of {report.trackings.applications} other applications are processed")
    if not report.sealed_before.covers(report.positions):
        print(f"not sealed before this run behind position {report.sealed_before}")
    if report.unfoldable:
        print(f"TABLES: {report.unfoldable}")
    certificates.show_blobs(report.blobs)
    if report.bad:
        print(f"DAMAGED: {report.bad}")
    if report.ok:
        print("ok")
