"""Certificates of copies and moves: the options about them, where they are kept, what is shown."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from refold.infrastructure.address import Address, Archive, Sqlite, archive, parse
from refold.infrastructure.blobs.inventory import BlobProof
from refold.infrastructure.moving import keeping
from refold.infrastructure.moving.certificate import Certificate, End, Renumbered, positions
from refold.infrastructure.store import Store
from refold.scripts import output

MOST_BLOBS: Final = 10
"""Blobs that are told of by name; --json tells of all."""

Kept = Annotated[
    Path | None,
    typer.Option(
        "--certificate",
        metavar="FILE",
        help="Where to keep the certificate [default: beside a SQLite target].",
        show_default=False,
    ),
]
Key = Annotated[
    Path | None,
    typer.Option("--sign-with", metavar="PEM", help="An Ed25519 private key to sign it with."),
]


def check_options(
    source: str, target: str, certificate: Path | None, sign_with: Path | None
) -> None:
    """Refuse a key that cannot sign, a certificate that cannot be kept, and a key for none.

    That of a target which is no SQLite file is kept where --certificate says, or not at all.
    """
    keeping.check_key(sign_with)
    places = [archive(url) or parse(url) for url in (source, target)]
    place = certificate or _default(places[-1])
    keeping.check_place(place, *places)
    if sign_with and not place:
        raise typer.BadParameter(f"--sign-with needs --certificate: {target} keeps none by itself")


def end(
    certificate: Certificate, target: Store, place: Path | None, key: Path | None, *, json: bool
) -> None:
    """Keep a certificate where it is wanted, or beside a target that is a file, and print it."""
    place = place or _default(target.address)
    try:
        if place:
            keeping.write(place, certificate, key)
    finally:
        report(certificate, json=json)


def _default(target: Address | Archive) -> Path | None:
    return target.certificate if isinstance(target, Sqlite) else None


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
            *_before(certificate.renumbered),
            ("position", str(certificate.positions)),
            *(
                (f"chain{_of(each, certificate.ends)}", each.chain.hex())
                for each in certificate.ends
            ),
            ("events", ", ".join(f"{n} {type}" for type, n in sorted(certificate.types.items()))),
            ("claims", certificate.claims),
            ("keys", certificate.vault.keys if certificate.vault else "not compared"),
            (
                "applications processed",
                certificate.trackings.applications if certificate.trackings else "not compared",
            ),
            ("blobs", counted(certificate.blobs)),
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
    if certificate.touched:
        print(
            f"whole tables were compared at position {certificate.tables_at}, {certificate.touched}"
            " rows that changed since one by one"
        )
    if certificate.pause is not None:
        print(f"neither store took commands for {1_000 * certificate.pause:.0f} ms")
    if certificate.keys_left:
        print(f"the source still holds {certificate.keys_left} keys of sealed fields")
    before = certificate.renumbered
    read = positions(before.ends) if before else certificate.positions
    if not certificate.sealed_before.covers(read):
        print(f"not sealed before this run behind position {certificate.sealed_before}")
    show_blobs(certificate.blobs)
    for difference in certificate.differences:
        print(f"difference: {difference}")
    print("equal" if certificate.equal else "NOT EQUAL")


def _before(log: Renumbered | None) -> Iterator[tuple[str, str]]:
    """Yield what a log was before it was numbered anew."""
    if log:
        yield "log before", log.log_id
        yield "position before", str(positions(log.ends))
        yield "families", f"{log.families}, {log.digest}"


def _of(end: End, ends: Sequence[End]) -> str:
    """Return which partition is meant, where there are several."""
    return f" {end.partition}" if len(ends) > 1 else ""


def counted(proof: BlobProof) -> str:
    """Return how many blobs there are, and how large they are together."""
    said = [f"{proof.count}, {proof.size} bytes in all"]
    if proof.sent:
        said.append(f"{proof.sent} sent")
    if proof.orphaned:
        said.append(f"{len(proof.orphaned)} more that no event refers to")
    return ", ".join(said)


def show_blobs(proof: BlobProof) -> None:
    """Print the names of blobs that are not as they should be, but not too many of each kind."""
    kinds = {"missing": proof.missing, "damaged": proof.damaged, "orphaned": proof.orphaned}
    for kind, names in kinds.items():
        for name in names[:MOST_BLOBS]:
            print(f"{kind} blob: {name}")
        if len(names) > MOST_BLOBS:
            print(f"{kind} blobs besides: {len(names) - MOST_BLOBS}; --json tells of all")
