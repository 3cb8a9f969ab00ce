"""`refold init`: make a store, or bring one up to date."""

import sys
from typing import Annotated

import typer

from refold.domain.errors import BadInput
from refold.infrastructure.address import Postgres
from refold.infrastructure.postgres.roles import make_roles
from refold.scripts import options, output


def init(
    roles: Annotated[
        bool,
        typer.Option(
            "--roles", help="Make refold_writer, _projector, _analyst, _operator and _owner too."
        ),
    ] = False,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Make a store, or bring its schema up to date. Doing it twice changes nothing.

    Example: refold init --store sqlite:///files.db
    """
    with options.opened(store, config, create=True) as made:
        made.folder.catch_up()
        if roles:
            if not isinstance(made.address, Postgres):
                raise BadInput(f"{made.address.public} has no roles: those are PostgreSQL's")
            for statement in make_roles(made.address):
                print(f"left for who owns the database: {statement}", file=sys.stderr)
        identity = made.log.identity()
        if json:
            output.document(
                {
                    "store_id": identity.store_id,
                    "log_id": identity.log_id,
                    "engine": made.address.engine,
                    "address": made.address.public,
                    "partitions": made.log.partitions,
                }
            )
        else:
            print(f"store {identity.store_id} at {made.address.public} is ready")
