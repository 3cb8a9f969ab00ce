"""Where each application of the eventsourcing library has its store, below one address."""

import re
from dataclasses import replace
from typing import Final

from refold.domain.errors import BadInput
from refold.domain.ports import Log
from refold.infrastructure.address import Address, Memory, Postgres, Sqlite
from refold.infrastructure.open import open_log

NAMELESS: Final = "stored"
"""What the library puts in the place of a name where an application has none."""

_NAME: Final = re.compile(r"[a-z0-9_]{1,40}")


def opened(place: Address, *, create: bool) -> Log:
    """Return the log at a place, with `create` made if there is none; see `open_log`."""
    if create and isinstance(place, Sqlite):
        place.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return open_log(place, create=create)


def place(below: Address, name: str) -> Address:
    """Return where the application `name` has its store; capitals and small letters are one name.

    Below `sqlite:///FOLDER` that is `FOLDER/<name>.db`, in a PostgreSQL database the schema
    `refold_<name>`; `memory:` is a store for each. Raises `BadInput` for a name that fits neither.
    """
    name = name.lower() or NAMELESS
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"the application's name {name!r} is not 1 to 40 letters, digits and _, so no store can"
            " be named after it"
        )
    match below:
        case Memory():
            return below
        case Sqlite():
            if any(each.is_file() for each in (below.path, *below.path.parents)):
                raise BadInput(
                    f"{below.public} is a file, or below one; applications need a folder, where"
                    " each has a store"
                )
            return Sqlite(below.path / f"{name}.db")
        case Postgres():
            schema = f"{below.schema}_{name}"
            if len(schema) > 50:
                raise BadInput(f"the schema {schema} would have more than 50 characters")
            return replace(below, schema=schema)
