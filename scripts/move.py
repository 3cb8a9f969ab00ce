"""`refold move` and `cutover`: bring a store to another place for good, with proof."""

from contextlib import AbstractContextManager, closing, suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from refold.domain.errors import NoSuchStore
from refold.infrastructure.limits import MOST_PARTITIONS
from refold.infrastructure.moving import cutover, renumbering
from refold.infrastructure.open import open_log
from refold.infrastructure.postgres.connection import NobodyThere
from refold.infrastructure.store import Store
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
        certificates.check_options(source, target, certificate, sign_with)
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
    with _opened(both, partitions) as (there, here), output.progress() as advance:
        renumbers = there.log.partitions != here.log.partitions
        moved = renumbering.move if renumbers else cutover.move
        made = moved(there, here, advance)
    certificates.end(made, here, certificate, sign_with, json=json)


def _opened(
    both: options.Both, partitions: int | None = None
) -> AbstractContextManager[tuple[Store, Store]]:
    address = both.there.public
    return both.opened(partial(cutover.check_source, address=address), partitions)


def _follow(both: options.Both, *, json: bool) -> None:
    with _opened(both) as (there, here), output.progress() as advance:
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
            help="With --abort: there is no target any more, and what only it had is given up."
            " It is looked for first.",
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
    the exit code is 3. A move that nobody began is refused. --abort opens the source after a
    cutover that was killed, or gives up a move before it, unless the target has taken over.

    Example: refold cutover sqlite:///files.db postgresql://ada@localhost/files
    """
    if lost and not abort:
        raise typer.BadParameter("--target-is-lost is for --abort")
    if dry_run and not lost:
        raise typer.BadParameter("--dry-run is for --abort --target-is-lost")
    if abort and (certificate or sign_with):
        raise typer.BadParameter("--abort makes no certificate to keep or to sign")
    both = options.Both(source, source_config, target, target_config)
    if abort:
        _abort(both, lost=lost, dry_run=dry_run, json=json)
    else:
        certificates.check_options(source, target, certificate, sign_with)
        _check_begun(both)
        _move(both, certificate, sign_with, json=json)


def _check_begun(both: options.Both) -> None:
    with options.opened(both.source, both.source_config) as there:
        try:
            with options.opened(both.target, both.target_config) as here:
                cutover.check_begun(there, here)
        except NoSuchStore:
            raise cutover.no_move(there.address.public, both.there.public) from None


def _check_lost(source: Store, both: options.Both, address: str) -> None:
    """Look for the log alone: query tables that are damaged are no lost store.

    Nor is one that cannot be used: only where nobody answers, or says that there is none.
    """
    with suppress(NoSuchStore, NobodyThere), closing(open_log(both.there)) as log:
        cutover.check_lost(source, log, address)


def _abort(both: options.Both, *, lost: bool, dry_run: bool, json: bool) -> None:
    address = both.there.public
    with options.opened(both.source, both.source_config) as there:
        if lost:
            cutover.check_sealed(there, address)
            _check_lost(there, both, address)
        if dry_run:
            if json:
                output.document({"would_abort": True})
            else:
                print(f"the source would take commands again; what only {address} had is given up")
            return
        if lost:
            cutover.reopen(there, address)
        else:
            with options.opened(both.target, both.target_config) as here:
                cutover.abort(there, here)
    if json:
        output.document({"aborted": True})
    else:
        print("the source takes commands again")
