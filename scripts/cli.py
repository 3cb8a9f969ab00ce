"""The `refold` command: its tasks, and what its exit codes say.

0 done · 1 refused or failed · 2 usage · 3 differences found · 4 store unavailable.
"""

import logging
import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from refold.domain.errors import Failure, Unavailable
from refold.infrastructure.config import NoStoreNamed
from refold.scripts import (
    as_of,
    bench,
    command,
    copy,
    demo,
    doctor,
    drift,
    erase,
    explain,
    exporting,
    importing,
    init,
    move,
    rebuild,
    rehearse,
    retry,
    run,
    seal,
    search,
    show,
    status,
    verify,
)

app = typer.Typer(
    name="refold",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        print(f"refold {version('refold')}")
        raise typer.Exit


@app.callback(
    help="An event-sourced store: an append-only log, query tables folded from it, and moves that"
    " are proven. Exit codes: 0 done, 1 refused or failed, 2 usage, 3 differences found, 4 store"
    " unavailable."
)
def _refold(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version, and end."
        ),
    ] = False,
) -> None:
    pass


app.command()(init.init)
app.command()(status.status)
app.command()(doctor.doctor)
app.command()(command.command)
app.add_typer(importing.app, name="import")
app.add_typer(exporting.app, name="export")
app.command()(search.search)
app.add_typer(show.app, name="show")
app.command()(explain.explain)
app.command()(as_of.as_of)
app.command()(drift.drift)
app.add_typer(erase.app, name="erase")
app.command()(rebuild.rebuild)
app.command()(rehearse.rehearse)
app.command()(retry.retry)
app.command()(run.run)
app.command()(copy.copy)
app.command()(move.move)
app.command("cutover")(move.cut_over)
app.command()(seal.seal)
app.command()(verify.verify)
app.command()(demo.demo)
app.command()(bench.bench)


def main() -> None:
    """Run the command line; a failure is one sentence on stderr."""
    logging.getLogger("psycopg.pool").disabled = True  # it would tell of each try to reconnect
    try:
        _run()
    except OSError as error:  # those of stores and files are failures
        if not _has_lost_stdout():
            raise
        print(f"refold: stdout cannot be written: {error.strerror}", file=sys.stderr)
        sys.exit(1)
    except Failure as failure:
        print(f"refold: {failure}", file=sys.stderr)
        if isinstance(failure, NoStoreNamed):
            sys.exit(2)
        sys.exit(4 if isinstance(failure, Unavailable) else 1)


def _run() -> None:
    """Run a task, and write all that it has printed."""
    try:
        app()
    finally:
        sys.stdout.flush()


def _has_lost_stdout() -> bool:
    """Tell whether nothing can be printed any more; if so, nobody tries that again."""
    try:
        sys.stdout.flush()
        os.write(sys.stdout.fileno(), b"")
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
