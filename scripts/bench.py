"""`refold bench`: speed as ratios to references measured in the same run."""

from collections.abc import Sequence
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer

from refold.domain.errors import Refused
from refold.infrastructure.progress import Progress
from refold.scripts import options, output
from refold.scripts.measure import growth, machine, report, site
from refold.scripts.measure.catalog import ALL, DEFAULT
from refold.scripts.measure.row import Result, Row

NAMES = ", ".join(row.name for row in DEFAULT)
OTHERS = ", ".join(row.name for row in ALL if row not in DEFAULT)


def bench(
    rows: Annotated[
        list[str] | None,
        typer.Option(
            help="What to measure, a name or a pattern such as 'growth-*'; may be repeated"
            f" [default: {NAMES}]. Only where they are named, being long: {OTHERS}."
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Two rounds on 20 000 events, under 2 minutes: to see that all is well. Else five"
            " rounds on 300 000, under 20 minutes.",
        ),
    ] = False,
    events: Annotated[
        int | None,
        typer.Option(
            min=1_000,
            help="Length of the logs [default: 300 000, quick 20 000]. 1 000 000 take an hour.",
        ),
    ] = None,
    lengths: Annotated[
        list[int] | None,
        typer.Option(
            min=1_000,
            help="Length of a log for the rows growth-…; may be repeated"
            " [default: 10 000, 100 000, 1 000 000 and 5 000 000, quick the first two].",
        ),
    ] = None,
    postgres: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A PostgreSQL server [default: a throw-away one]."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Write bench.json, bench.md (the table) and bench.png (a plot) there.",
        ),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Measure refold against real references, in turn, and say which goals it reaches.

    A row is a median of ratios, or of seconds or MB, over several rounds; beside it stand other
    libraries and tools that are installed. What can be compared is: a wrong result reaches no goal.
    Exit code 3 when there was one. A row that cannot be measured is told, the others go on, and the
    exit code is 1, if no result was wrong; Ctrl-C ends with what is measured by then.

    Example: refold bench --quick --rows rebuild --rows copy --out results
    """
    chosen = _chosen(rows)
    if out and not find_spec("matplotlib"):
        raise Refused("--out draws a plot with matplotlib, which is in the extra refold[dev]")
    started = monotonic()
    with (
        output.progress() as advance,
        site.prepared(
            postgres,
            events=events or (site.QUICK_EVENTS if quick else site.EVENTS),
            lengths=lengths or (growth.QUICK_LENGTHS if quick else growth.LENGTHS),
            quick=quick,
            progress=advance,
        ) as place,
    ):
        versions = machine.versions(place)
        results, failed = _measured(chosen, place, advance)
    document = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "commit": machine.commit(),
        "machine": machine.machine(),
        "versions": versions,
        "quick": quick,
        "events": place.events,
        "rows": [result.document() for result in results],
        "failed": failed,
        "seconds": round(monotonic() - started, 3),
    }
    if out and results:
        _write(out, document, results)
    if json:
        output.document(document)
    else:
        _show(results)
        for name, why in failed.items():
            print(f"FAILED: {name}: {why}")
    if not all(result.correct for result in results):
        raise typer.Exit(3)
    if failed:
        raise typer.Exit(1)


def _chosen(names: Sequence[str] | None) -> Sequence[Row]:
    """Return the rows that are named, in the order of the catalog. Raises `BadParameter`."""
    if not names:
        return DEFAULT
    for name in names:
        if not any(fnmatchcase(row.name, name) for row in ALL):
            raise typer.BadParameter(f"there is no row {name}; there are {NAMES}, {OTHERS}")
    return [row for row in ALL if any(fnmatchcase(row.name, name) for name in names)]


def _measured(
    rows: Sequence[Row], place: site.Site, advance: Progress
) -> tuple[list[Result], dict[str, str]]:
    """Measure rows, and return what they came to, and why some came to nothing."""
    results, failed = list[Result](), dict[str, str]()
    for row in rows:
        try:
            results.append(_result(row, place, advance))
        except KeyboardInterrupt:
            failed[row.name] = "it was interrupted"
            break
        except Exception as error:  # what breaks one row says nothing of the others
            failed[row.name] = f"{type(error).__name__}: {error}"
    return results, failed


def _result(row: Row, place: site.Site, advance: Progress) -> Result:
    started = monotonic()
    place.progress = lambda what, done, total: advance(f"{row.name}, {what}", done, total)
    return Result(row, row.measure(place), monotonic() - started)


def _write(folder: Path, document: dict[str, Any], results: Sequence[Result]) -> None:
    from refold.scripts.measure import plot  # it needs matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.json").write_text(output.written(document) + "\n")
    (folder / "bench.md").write_text(report.markdown(document))
    plot.draw(results, report.headline(document), folder / "bench.png")


def _show(results: Sequence[Result]) -> None:
    output.table(
        ("row", "median", "range", "unit", "goal", "reached", "others", "figures"),
        (
            (
                result.row.name,
                f"{result.value:.2f}",
                f"{min(result.measured.values):.2f} to {max(result.measured.values):.2f}",
                result.row.goal.unit,
                f"{result.row.goal.kind} {result.row.goal.value:g}",
                "yes" if result.reached else "NO",
                report.others(result.document()["peers"]),
                ", ".join(f"{name}: {value}" for name, value in result.measured.figures.items()),
            )
            for result in results
        ),
    )
    for result in results:
        for difference in result.measured.differences:
            print(f"WRONG: {result.row.name}: {difference}")
