"""`refold show`: one thing, as the log has it now."""

from dataclasses import asdict
from typing import Annotated

import typer

from refold.infrastructure import queries
from refold.scripts import options, output

app = typer.Typer(help="Show one thing, as the log has it now.", no_args_is_help=True)


@app.callback()
def things() -> None:
    """Show one thing, as the log has it now."""


@app.command()
def file(
    sha256: Annotated[str, typer.Argument(help="SHA-256 of the file.")],
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Show a file with its tags and votes.

    Example: refold show file 2cf24dba… --store sqlite:///files.db --json
    """
    with options.opened(store, config) as opened:
        shown = asdict(queries.show_file(opened, sha256))
    if json:
        output.document(shown)
        return
    tags = shown.pop("tags")
    output.table(
        ("field", "value"), [*shown.items(), *((f"tag {tag}", n) for tag, n in tags.items())]
    )
