"""`refold move` and `cutover`: bring a store to another place for good, with proof."""

from pathlib import Path
from typing import Annotated

import typer

from refold.infrastructure.address import parse
from refold.infrastructure.limits import MOST_PARTITIONS
from refold.infrastructure.moving import cutover, renumbering
from refold.scripts import certificates, options, output, signals


def move(
    source: options.Source,
    target: options.Target,
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
    source_config: options.SourceConfig = None,
    target_config: options.TargetConfig = None,
    certificate: certificates.Kept = None,
    sign_with: certificates.Key = None,
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
    both = options.Both(source, source_config, target, target_config)
    if not follow:
        _move(both, certificate, sign_with, partitions, json=json)
        return
    if partitions:
        raise typer.BadParameter("--partitions is not for --follow: it numbers all events at once")
    if certificate or sign_with:
        raise typer.BadParameter("the certificate of a move that follows is made by refold cutover")
    _follow(both, json=json)


def _move(
    both: options.Both,
    certificate: Path | None,
    sign_with: Path | None,
    partitions: int | None = None,
    *,
    json: bool,
) -> None:
    certificates.check_options(both.target, certificate, sign_with)
    with both.opened(partitions) as (there, here), output.progress() as advance:
        renumbers = there.log.partitions != here.log.partitions
        moved = renumbering.move if renumbers else cutover.move
        made = moved(there, here, advance)
    certificates.end(made, here, certificate, sign_with, json=json)


def _follow(both: options.Both, *, json: bool) -> None:
    with both.opened() as (there, here), output.progress() as advance:
        positions, ended = cutover.follow(there, here, signals.stopped(), advance)
    if json:
        output.document({"position": positions.document(), "cut_over": ended})
    else:
        names = f"{there.address.public} {here.address.public}"
        rest = "the move is done" if ended else f"refold cutover {names} ends the move"
        print(f"followed up to position {positions}; {rest}")


def cut_over(
    source: options.Source,
    target: options.Target,
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
    source_config: options.SourceConfig = None,
    target_config: options.TargetConfig = None,
    certificate: certificates.Kept = None,
    sign_with: certificates.Key = None,
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
    if abort and (certificate or sign_with):
        raise typer.BadParameter("--abort makes no certificate to keep or to sign")
    if lost and target_config:
        raise typer.BadParameter("--target-config is not for --target-is-lost: it is not opened")
    both = options.Both(source, source_config, target, target_config)
    if abort:
        _abort(both, lost=lost, dry_run=dry_run, json=json)
    else:
        _move(both, certificate, sign_with, json=json)


def _abort(both: options.Both, *, lost: bool, dry_run: bool, json: bool) -> None:
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
