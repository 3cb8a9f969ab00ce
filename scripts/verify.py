"""`refold verify`: check a store against its seals, or against another store."""

from typing import Annotated

import typer

from refold.infrastructure.moving import verifying
from refold.infrastructure.open import open_store
from refold.scripts import copying, options, output


def verify(
    store: Annotated[str, typer.Argument(help="Address of the store.")],
    other: Annotated[
        str | None, typer.Argument(help="Address of a store to compare it with.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Read every record, compare all seals, and say which block is damaged.

    Blobs that events refer to are read as well. With a second store, compare the logs, claims,
    keys of sealed fields, blobs and tables of both. Exit code 3 when something is damaged or
    differs.

    Example: refold verify sqlite:///files.db
    """
    with open_store(store) as first, output.progress() as advance:
        if other:
            with open_store(other) as second:
                certificate = verifying.compare(first, second, advance)
            copying.report(certificate, json=json)
            return
        report = verifying.verify(first, advance)
    if json:
        output.document(report.document())
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(3)


def _show(report: verifying.Report) -> None:
    print(f"log {report.log_id} up to position {report.position}, chain {report.chain.hex()}")
    output.table(
        ("table", "rows", "digest"),
        ((name, digest.rows, f"{digest.hex:.16}…") for name, digest in report.tables),
    )
    if report.sealed_before < report.position:
        print(f"not sealed before this run from position {report.sealed_before + 1}")
    if report.unfoldable:
        print(f"TABLES: {report.unfoldable}")
    for sha256 in report.missing:
        print(f"MISSING OR DAMAGED BLOB: {sha256}")
    if report.bad:
        print(f"DAMAGED: {report.bad}")
    if report.ok:
        print("ok")
