"""What `refold copy` and `refold verify` do with an archive: the log of a store in one file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from refold.domain.errors import NoSuchStore, OlderSchema
from refold.infrastructure.address import Archive
from refold.infrastructure.archive import filling, verifying, writing
from refold.infrastructure.moving.certificate import Certificate
from refold.infrastructure.store import Store
from refold.scripts import options, output


def write(
    source: str, config: Path | None, archive: Archive, *, with_keys: bool
) -> writing.Written:
    """Bring an archive to where a store stands."""
    with options.opened(source, config) as there, output.progress() as advance:
        return writing.write(there, archive, with_keys=with_keys, progress=advance)


def show(written: writing.Written, *, json: bool) -> None:
    """Print what an archive holds now."""
    if json:
        output.document(written.document())
        return
    made = written.certificate
    _show(
        ("source", made.source),
        ("target", made.target),
        ("log", made.log_id),
        ("position", str(made.positions)),
        *(("chain", each.chain.hex()) for each in made.ends),
        ("appended", f"{written.appended} events"),
        ("events", _counts(made.types)),
        ("keys", made.vault.keys if made.vault else f"{written.left_out} left out"),
        ("blobs", f"{len(written.needed)} needed, not in the archive"),
        ("seconds", f"{made.seconds:.1f}"),
    )
    print("equal")


@contextmanager
def filled(
    archive: Archive, target: str, config: Path | None, *, without_keys: bool, damaged: bool
) -> Iterator[tuple[Certificate, Store]]:
    """Bring a store to where an archive ends, and give it with the certificate.

    The store is made, if there is none, once the archive was verified.
    """
    with output.progress() as advance:
        survey = filling.survey(archive, damaged=damaged, progress=advance)
        if not _is_there(target, config):  # nor is it to be, if it cannot be filled
            filling.check_keys(survey, (), without_keys=without_keys)
        with options.opened(target, config, create=True, partitions=1) as here:
            yield filling.fill(survey, here, without_keys=without_keys, progress=advance), here


def _is_there(address: str, config: Path | None) -> bool:
    try:
        options.opened(address, config).close()
    except NoSuchStore:
        return False
    except OlderSchema:  # it is brought up to date where it is filled
        return True
    return True


def verify(archive: Archive, other: str | None, config: Path | None, *, json: bool) -> None:
    """Print what an archive holds, or how it differs from a store; exit with 3 when it is bad."""
    with output.progress() as advance:
        if other:
            with options.opened(other, config) as store:
                report = verifying.compare(archive, store, advance)
        else:
            report = verifying.verify(archive, advance)
    if json:
        output.document(report.document())
    else:
        _show_report(report, compared=bool(other))
    if not report.ok:
        raise typer.Exit(3)


def _show_report(report: verifying.Report, *, compared: bool) -> None:
    print(f"log {report.log_id} up to position {report.position}, chain {report.chain.hex()}")
    _show(
        ("made", report.made_at),
        ("events", _counts(report.types)),
        ("keys", "none" if report.keys is None else len(report.keys)),
        ("blobs", f"{len(report.blobs)} needed, not in the archive"),
    )
    if report.bad:
        print(f"DAMAGED: {report.bad}")
    for difference in report.differences:
        print(f"difference: {difference}")
    if report.ok:
        print("equal" if compared else "ok")


def _show(*rows: tuple[str, object]) -> None:
    output.table(("archive", ""), rows)


def _counts(types: dict[str, int]) -> str:
    return ", ".join(f"{count} {type}" for type, count in sorted(types.items()))
