"""`refold rehearse`: see what this version of refold would change, without changing it."""

import typer

from refold.infrastructure.folding import workers
from refold.infrastructure.folding.rehearsing import Rehearsal
from refold.infrastructure.folding.rehearsing import rehearse as rehearsed
from refold.scripts import lines, options, output, rebuild


def rehearse(
    tables: options.Tables = None,
    number: options.Workers = None,
    samples: options.Samples = 3,
    store: options.Address = None,
    config: options.Config = None,
    json: options.AsJson = False,
) -> None:
    """Fold the whole log with this version of refold, beside, and tell what would change.

    Every row that would differ is counted, every event that cannot be read is listed. The live
    tables are not touched, and what was made beside them is removed. Exit code 3 when anything
    would change: run it in CI on a copy of the store before an upgrade.

    Example: refold rehearse --store sqlite:///copy-of-files.db
    """
    chosen = options.projections(tables)
    with (
        options.opened(store, config) as opened,
        workers.helping(opened, number),
        output.progress() as advance,
    ):
        found = rehearsed(opened.advance, chosen, samples, advance)
    if json:
        output.document(
            {
                "changes_nothing": found.changes_nothing,
                "tables": [rebuild.document(each) for each in found.compared],
                "unfoldable": list(found.unfoldable),
                "unreadable": [
                    {
                        "partition": record.partition,
                        "position": record.position,
                        "type": record.type,
                        "reason": str(error),
                    }
                    for record, error in found.unreadable
                ],
            }
        )
    else:
        _show(found)
    if not found.changes_nothing:
        raise typer.Exit(3)


def _show(found: Rehearsal) -> None:
    rebuild.show(found.compared)
    for record, error in found.unreadable:
        where = found.head.named(record.partition, record.position)
        print(lines.prose(f"event {where}, {record.type}: {error}"))
    for name in found.unfoldable:
        print(f"{name} cannot be folded past those events")
    verdict = "nothing would change" if found.changes_nothing else "the tables would change"
    print(verdict)
