"""`refold seal`: seal a log, and keep where it stands outside of the store."""

from dataclasses import asdict
from typing import Annotated

import typer

from refold.domain.positions import Positions
from refold.infrastructure import anchors, chain, config
from refold.infrastructure.open import open_at
from refold.scripts import options, output


def seal(
    anchor: Annotated[
        str | None,
        typer.Option(
            "--anchor",
            metavar="FILE|s3://BUCKET/KEY",
            callback=options.given,
            help="Where to add a line that tells where the log stands.",
        ),
    ] = None,
    store: options.Address = None,
    file: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Seal all full blocks of the log, and anchor its end outside of the store.

    An anchor holds the id of the log, its last position and the hash chain there. Keep the file
    where nobody who may change the database can write: refold verify --anchor finds then that
    newest events were deleted, or any event changed. Each run adds a line; when the last one does
    not fit the log, nothing is added and the exit code is 3.

    Example: refold seal --anchor /mnt/elsewhere/files.anchor --store sqlite:///files.db
    """
    settings = config.read(store, file)
    with open_at(settings.address(), settings=settings) as opened:
        if anchor is None:
            ends = enumerate(opened.advance.head().each)
            sealed = Positions(tuple(chain.seal(opened.log, *each) for each in ends))
            if json:
                output.document({"sealed": sealed.document()})
            else:
                print(f"sealed up to {sealed}")
            return
        added, differences = anchors.add(opened, anchors.place(anchor, settings))
    if json:
        output.document({"anchors": list(map(asdict, added)), "differences": differences})
    for difference in () if json else differences:
        print(f"difference: {difference}")
    if differences:
        raise typer.Exit(3)
    anchored = Positions(tuple(each.position for each in added))
    for each in () if json else added:
        where = anchored.named(each.partition, each.position)
        print(f"anchored at position {where}, chain {each.chain}")
