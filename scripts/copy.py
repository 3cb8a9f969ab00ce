"""`refold copy`: bring a store to another place, with proof."""

from typing import Annotated

import typer

from refold.infrastructure.address import archive
from refold.infrastructure.moving import copying, heads, keeping
from refold.scripts import archiving, certificates, options, output


def copy(
    source: options.Source,
    target: options.Target,
    source_config: options.SourceConfig = None,
    target_config: options.TargetConfig = None,
    certificate: certificates.Kept = None,
    sign_with: certificates.Key = None,
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
    if (archive(source) and source_config) or (archive(target) and target_config):
        raise typer.BadParameter("an archive has no refold.toml: it is a file by itself")
    certificates.check_options(source, target, certificate, sign_with)
    if place := archive(target):
        written = archiving.write(source, source_config, place, with_keys=with_keys)
        if certificate:
            keeping.write(certificate, written.certificate, sign_with)
        archiving.show(written, json=json)
        return
    if place := archive(source):
        filled = archiving.filled(
            place, target, target_config, without_keys=without_keys, damaged=damaged
        )
        with filled as (made, here):
            certificates.end(made, here, certificate, sign_with, json=json)
        return
    both = options.Both(source, source_config, target, target_config)
    with both.opened(heads.check_source) as (there, here), output.progress() as advance:
        made = copying.copy(there, here, advance)
    certificates.end(made, here, certificate, sign_with, json=json)


def _check_options(source: str, target: str, *, with_keys: bool, of_source: bool) -> None:
    if archive(source) and archive(target):
        raise typer.BadParameter("an archive is copied to another as any file is")
    if with_keys and not archive(target):
        raise typer.BadParameter("--with-keys is for a copy to an archive")
    if of_source and not archive(source):
        raise typer.BadParameter("--without-keys and --damaged are for a copy from an archive")
