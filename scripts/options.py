"""Options that many tasks share, and the store that they name."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import typer

from refold.domain.errors import Filling
from refold.domain.ports import State
from refold.infrastructure import address, config
from refold.infrastructure.open import open_at
from refold.infrastructure.store import Store
from refold.projections import catalog
from refold.projections.projection import Projection

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
Tables = Annotated[
    list[str] | None,
    typer.Argument(help="Which tables [default: all].", show_default=False),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=1,
        help="Processes that fold [default: processors].",
        show_default=False,
    ),
]
MOST_SAMPLES: Final = 1_000_000
"""Samples are kept in memory."""

Samples = Annotated[
    int,
    typer.Option(
        min=0, max=MOST_SAMPLES, help="Rows to show of each difference, with their cells."
    ),
]
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
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


def given(value: str | None) -> str | None:
    """Refuse an empty value, which a variable that is not set gives in a shell."""
    if value == "":
        raise typer.BadParameter("it is empty")
    return value


def opened(
    address: str | None,
    file: Path | None,
    *,
    create: bool = False,
    partitions: int | None = None,
) -> Store:
    """Return the store that the options, the environment or refold.toml name."""
    settings = config.read(address, file)
    return open_at(settings.address(), create=create, settings=settings, partitions=partitions)


def opened_to_read(address: str | None, file: Path | None) -> Store:
    """Return the store that is named; say on stderr when not all that it is to have is there."""
    store = opened(address, file)
    if store.log.heads()[0].state is State.FILLING:
        print(f"not all of it is here yet: {Filling()}", file=sys.stderr)
    return store


class Both(NamedTuple):
    """The two stores of a copy or a move, as they are named."""

    source: str
    source_config: Path | None
    target: str
    target_config: Path | None

    @property
    def there(self) -> address.Address:
        """Return the target's address, with what the settings say of it."""
        return config.read(self.target, self.target_config).address()

    @contextmanager
    def opened(
        self, check: Callable[[Store], None], partitions: int | None = None
    ) -> Iterator[tuple[Store, Store]]:
        """Open both; the target is made if there is none, by default with as many partitions.

        Where `check` of the source raises, none is made.
        """
        with opened(self.source, self.source_config) as there:
            check(there)
            partitions = partitions or there.log.partitions
            with opened(
                self.target, self.target_config, create=True, partitions=partitions
            ) as here:
                yield there, here


def projections(names: Sequence[str] | None) -> list[Projection]:
    """Return the projections of the tables that are named, or all."""
    chosen = [each for each in catalog.ALL if not names or each.NAME in names]
    if unknown := sorted(set(names or ()) - {each.NAME for each in chosen}):
        known = ", ".join(each.NAME for each in catalog.ALL)
        raise typer.BadParameter(f"there is no table {unknown[0]}; there are {known}")
    return chosen
