"""`refold copy`, `move` and `cutover`: bring a store to another place, with proof."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from refold.infrastructure.address import Sqlite, archive, parse
from refold.infrastructure.blobs.inventory import BlobProof
from refold.infrastructure.limits import MOST_PARTITIONS
from refold.infrastructure.moving import copying, cutover, kept, renumbering
from refold.infrastructure.moving.certificate import Certificate, End, Renumbered, positions
from refold.infrastructure.store import Store
from refold.scripts import archiving, options, output, signals

MOST_BLOBS: Final = 10
"""Blobs that are told of by name; --json tells of all."""

Source = Annotated[str, typer.Argument(help="Address of the store that is there.")]
Target = Annotated[str, typer.Argument(help="Address to bring it to; made if there is none.")]

SourceConfig = Annotated[
    Path | None,
    typer.Option(
        "--source-config",
        metavar="FILE",
        help="A refold.toml that says how to reach the source, and where its blobs are.",
    ),
]
TargetConfig = Annotated[
    Path | None,
    typer.Option(
        "--target-config",
        metavar="FILE",
        help="A refold.toml that says how to reach the target, and where its blobs are to be.",
    ),
]
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


def copy(
    source: Source,
    target: Target,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    certificate: Kept = None,
    sign_with: Key = None,
    with_keys: Annotated[
        bool, typer.Option("--with-keys", help="Put the wrapped keys into an archive.")
    ] = False,
    without_keys: Annotated[
        bool,
        typer.Option("--without-keys", help="Erase what an archive has sealed but no keys of."),
    ] = False,
    damaged: Annotated[
        bool,
        typer.Option("--damaged", help="Bring what stands before an archive's first bad block."),
    ] = False,
    json: options.AsJson = False,
) -> None:
    """Copy a store, compare every record and every table, and print the certificate.

    The source stays open; the copy is certified up to the position printed. Broken off, it goes
    on where it was. Either of the two may be archive:PATH, a file of the log alone: as a target,
    what is new is appended to it; a store that is filled from it gets its tables folded, and is
    told which blobs it lacks. Contents that are kept beside a store, its blobs, are brought where
    --target-config wants them, a folder or a bucket; those that no event refers to stay behind,
    and are named. Exit code 3 when something differs.

    Example: refold copy sqlite:///files.db postgresql://ada@localhost/files
    """
    _check_options(source, target, with_keys=with_keys, of_source=without_keys or damaged)
    kept.check_key(sign_with)
    if place := archive(target):
        written = archiving.write(source, source_config, place, with_keys=with_keys)
        if certificate:
            kept.write(certificate, written.certificate, sign_with)
        archiving.show(written, json=json)
        return
    if place := archive(source):
        filled = archiving.filled(
            place, target, target_config, without_keys=without_keys, damaged=damaged
        )
        with filled as (made, here):
            end(made, here, certificate, sign_with, json=json)
        return
    both = _Both(source, source_config, target, target_config)
    with both.opened() as (there, here), output.progress() as advance:
        made = copying.copy(there, here, advance)
    end(made, here, certificate, sign_with, json=json)


def move(
    source: Source,
    target: Target,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Keep copying what is appended; refold cutover ends it."),
    ] = False,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_PARTITIONS,
            help="Number the events anew, in so many partitions [default: as the source has].",
            show_default=False,
        ),
    ] = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    certificate: Kept = None,
    sign_with: Key = None,
    json: options.AsJson = False,
) -> None:
    """Copy a store, seal it, and open the target: appends to the source then say where it went.

    Services may write meanwhile: all that takes long is done before the seal, and for how long
    neither store took commands is printed. What was acknowledged is in the target. When something
    differs the source is opened again and the exit code is 3. With --follow, the target is only
    kept behind the source, until SIGTERM or until refold cutover has ended the move; start it
    again whenever it was ended.

    With --partitions, the target, which has to be empty, begins a log of its own: the events are
    the same, family by family, at other positions. Whole tables are then compared while neither
    store takes commands, and there is no way back but another such move.

    Example: refold move sqlite:///files.db postgresql://ada@localhost/files
    """
    both = _Both(source, source_config, target, target_config, partitions)
    if not follow:
        _move(both, certificate, sign_with, json=json)
    elif partitions is None:
        _follow(both, json=json)
    else:
        raise typer.BadParameter("--partitions is not for --follow: it numbers all events at once")


class _Both(NamedTuple):
    """The two stores of a move, as they are named."""

    source: str
    source_config: Path | None
    target: str
    target_config: Path | None
    partitions: int | None = None

    @contextmanager
    def opened(self) -> Iterator[tuple[Store, Store]]:
        """Open both; the target is made if there is none, with as many partitions."""
        with options.opened(self.source, self.source_config) as there:
            partitions = self.partitions or there.log.partitions
            made = options.opened(
                self.target, self.target_config, create=True, partitions=partitions
            )
            with made as here:
                yield there, here


def _move(both: _Both, certificate: Path | None, sign_with: Path | None, *, json: bool) -> None:
    kept.check_key(sign_with)
    with both.opened() as (there, here), output.progress() as advance:
        renumbers = there.log.partitions != here.log.partitions
        moved = renumbering.move if renumbers else cutover.move
        made = moved(there, here, advance)
    end(made, here, certificate, sign_with, json=json)


def _follow(both: _Both, *, json: bool) -> None:
    with both.opened() as (there, here), output.progress() as advance:
        positions, ended = cutover.follow(there, here, signals.stopped(), advance)
    if json:
        output.document({"position": positions.document(), "cut_over": ended})
    else:
        names = f"{there.address.public} {here.address.public}"
        rest = "the move is done" if ended else f"refold cutover {names} ends the move"
        print(f"followed up to position {positions}; {rest}")


def cut_over(
    source: Source,
    target: Target,
    abort: Annotated[
        bool, typer.Option("--abort", help="Let the source take commands again instead.")
    ] = False,
    lost: Annotated[
        bool,
        typer.Option(
            "--target-is-lost",
            help="With --abort: there is no target any more, and what only it had is given up.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what --target-is-lost would do.")
    ] = False,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    certificate: Kept = None,
    sign_with: Key = None,
    json: options.AsJson = False,
) -> None:
    """End a move that refold move --follow began: seal the source, open the target.

    Whole tables are compared before, and rows that changed since after the seal; for how long
    neither store took commands is printed. When something differs the source is opened again and
    the exit code is 3. --abort opens the source after a cutover that was killed, or gives up a
    move before it, unless the target has taken over.

    Example: refold cutover sqlite:///files.db postgresql://ada@localhost/files
    """
    if lost and not abort:
        raise typer.BadParameter("--target-is-lost is for --abort")
    if dry_run and not lost:
        raise typer.BadParameter("--dry-run is for --abort --target-is-lost")
    both = _Both(source, source_config, target, target_config)
    if abort:
        _abort(both, lost=lost, dry_run=dry_run, json=json)
    else:
        _move(both, certificate, sign_with, json=json)


def _abort(both: _Both, *, lost: bool, dry_run: bool, json: bool) -> None:
    with options.opened(both.source, both.source_config) as there:
        if dry_run:
            address = parse(both.target).public
            cutover.check_sealed(there, address)
            if json:
                output.document({"would_abort": True})
            else:
                print(f"the source would take commands again; what only {address} had is given up")
            return
        if lost:
            cutover.reopen(there, parse(both.target).public)
        else:
            with options.opened(both.target, both.target_config) as here:
                cutover.abort(there, here)
    if json:
        output.document({"aborted": True})
    else:
        print("the source takes commands again")


def end(
    certificate: Certificate, target: Store, place: Path | None, key: Path | None, *, json: bool
) -> None:
    """Keep a certificate where it is wanted, or beside a target that is a file, and print it."""
    if place is None and isinstance(target.address, Sqlite):
        place = target.address.certificate
    try:
        if place:
            kept.write(place, certificate, key)
    finally:
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


def _check_options(source: str, target: str, *, with_keys: bool, of_source: bool) -> None:
    if archive(source) and archive(target):
        raise typer.BadParameter("an archive is copied to another as any file is")
    if with_keys and not archive(target):
        raise typer.BadParameter("--with-keys is for a copy to an archive")
    if of_source and not archive(source):
        raise typer.BadParameter("--without-keys and --damaged are for a copy from an archive")
