"""The commands that mend a store, as a person types them."""

import shlex
from collections.abc import Sequence
from typing import Final

from refold.domain.errors import Failure
from refold.infrastructure.address import Address, Sqlite
from refold.projections import catalog

GIVE_KEY: Final = "export REFOLD_VAULT_KEY=KEY (the one that this store was made with)"
UPGRADE: Final = "pip install --upgrade refold"


class Mends:
    """What can be typed about the store at one address; a password in it is not shown."""

    def __init__(self, place: Address) -> None:
        self._place = place
        self._quoted = shlex.quote(place.public)

    @property
    def address(self) -> str:
        """Return the address as it is typed."""
        return self._quoted

    @property
    def at(self) -> str:
        """Return the option that names the store."""
        return f" --store {self._quoted}"

    @property
    def make(self) -> str:
        """Return what makes the store, or brings its schema up to date."""
        return f"refold init{self.at}"

    @property
    def ask(self) -> str:
        """Return what tells more about a store that does not answer."""
        if isinstance(self._place, Sqlite):
            return shlex.join(["sqlite3", str(self._place.path), "PRAGMA integrity_check"])
        return shlex.join(["psql", self._place.public.partition("?schema=")[0], "-c", "SELECT 1"])

    @property
    def from_a_copy(self) -> str:
        """Return what tells whether a copy has what this store lost."""
        return f"refold verify {self._quoted} COPY (then put the copy in its place)"

    @property
    def from_another(self) -> str:
        """Return what brings the blobs of a copy here."""
        return f"refold copy COPY {self._quoted}"

    @property
    def finish_copy(self) -> str:
        """Return what brings a copy to its end that was broken off."""
        return f"refold copy SOURCE {self._quoted}"

    def finish_move(self, source: str) -> str:
        """Return what brings a move from `source` to its end."""
        return f"refold cutover {shlex.quote(source)} {self._quoted} (or --abort)"

    @property
    def list_blobs(self) -> str:
        """Return what tells of all blobs that no event refers to."""
        return (
            f"refold verify {self._quoted} --json (it names all; uploads under way are among them)"
        )

    def rebuild(self, names: Sequence[str]) -> str:
        """Return what folds those tables from the first event."""
        chosen = "" if len(names) == len(catalog.ALL) else f" {' '.join(names)}"
        return f"refold rebuild{chosen}{self.at}"


def sentence(error: Failure) -> str:
    """Return what happened, without the advice behind it: that is the finding's own."""
    return str(error).partition(";")[0]
