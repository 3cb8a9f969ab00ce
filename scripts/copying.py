"""`refold copy` and `refold move`: bring a store to another place, with proof."""

from typing import Annotated

import typer

from refold.infrastructure.moving import copying
from refold.infrastructure.moving.certificate import Certificate
from refold.infrastructure.open import open_store
from refold.scripts import options, output

Source = Annotated[str, typer.Argument(help="Address of the store that is there.")]
Target = Annotated[str, typer.Argument(help="Address to bring it to; made if there is none.")]


def copy(source: Source, target: Target, json: options.AsJson = False) -> None:
    """Copy a store, compare every record and every table, and print the certificate.

    The source stays open; the copy is certified up to the position printed. Broken off, it goes
    on where it was. Exit code 3 when something differs.

    Example: refold copy sqlite:///files.db postgresql://ada@localhost/files
    """
    with (
        open_store(source) as there,
        open_store(target, create=True) as here,
        output.progress() as advance,
    ):
        certificate = copying.copy(there, here, advance)
    report(certificate, json=json)


def move(source: Source, target: Target, json: options.AsJson = False) -> None:
    """Copy a store, seal it, and open the target: appends to the source then say where it went.

    Services may write meanwhile: what was acknowledged is in the target. When something differs
    the source is opened again and the exit code is 3.

    Example: refold move sqlite:///files.db postgresql://ada@localhost/files
    """
    with (
        open_store(source) as there,
        open_store(target, create=True) as here,
        output.progress() as advance,
    ):
        certificate = copying.move(there, here, advance)
    report(certificate, json=json)


def report(certificate: Certificate, *, json: bool) -> None:
    """Print a certificate; exit with 3 when something differs."""
    if json:
        output.document(certificate.document())
    else:
        show(certificate)
    if not certificate.equal:
        raise typer.Exit(3)


def show(certificate: Certificate) -> None:
    """Print a certificate for a person."""
    output.table(
        ("certificate", ""),
        [
            ("source", certificate.source),
            ("target", certificate.target),
            ("log", certificate.log_id),
            ("position", certificate.position),
            ("chain", certificate.chain.hex()),
            ("events", ", ".join(f"{n} {type}" for type, n in sorted(certificate.types.items()))),
            ("claims", certificate.claims),
            ("keys", certificate.vault.keys if certificate.vault else "not compared"),
            ("blobs", certificate.blobs),
            ("seconds", f"{certificate.seconds:.1f}"),
        ],
    )
    output.table(
        ("table", "rows", "digest", "compared with the source"),
        (
            (
                table.name,
                table.target.rows,
                f"{table.target.hex:.16}…",
                "not compared"
                if table.source is None
                else "equal"
                if table.source == table.target
                else "DIFFERENT",
            )
            for table in certificate.tables
        ),
    )
    if certificate.sealed_before < certificate.position:
        print(f"not sealed before this run from position {certificate.sealed_before + 1}")
    for difference in certificate.differences:
        print(f"difference: {difference}")
    print("equal" if certificate.equal else "NOT EQUAL")
