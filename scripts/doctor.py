"""`refold doctor`: what is wrong with a store, and how to mend it."""

import typer

from refold.infrastructure.checking.doctor import Report, examine
from refold.infrastructure.config import read
from refold.scripts import lines, options, output


def doctor(
    store: options.Address = None, config: options.Config = None, json: options.AsJson = False
) -> None:
    """Check a store and say of each thing that is wrong how to mend it. Changes nothing.

    Looked at are the schema, the guards of the log, holes, seals, claims, the keys of sealed
    fields, large contents, how far each query table is and what stops it, whether a copy or move
    that fills the store has come to its end, locks, and unsafe settings. Exit code 1 when there is
    a problem, 4 when the log cannot be reached; warnings alone are 0.

    Example: refold doctor --store sqlite:///files.db
    """
    settings = read(store, config)
    with output.progress() as advance:
        report = examine(settings.address(), settings, advance)
    if json:
        output.document(report.document())
    else:
        _show(report)
    if not report.is_reachable:
        raise typer.Exit(4)
    if not report.is_well:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    for each in report.findings:
        print(lines.prose(f"{each.level}: {each.check}: {each.what}"))
        print(f"  {each.mend}")
    if not report.findings:
        print(
            lines.parts("nothing is wrong with", report.store, f"up to position {report.positions}")
        )
