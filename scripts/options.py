"""Options that many tasks share, and the store that they name."""

from pathlib import Path
from typing import Annotated

import typer

from refold.infrastructure import config
from refold.infrastructure.open import open_at
from refold.infrastructure.store import Store

Address = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Address of the store: sqlite:///PATH or postgresql://USER@HOST/NAME"
        " [default: REFOLD_STORE or refold.toml]",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="A refold.toml that names the store."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def opened(address: str | None, file: Path | None, *, create: bool = False) -> Store:
    """Return the store that the options, the environment or refold.toml name."""
    settings = config.read(address, file)
    return open_at(settings.address(), create=create, settings=settings)
