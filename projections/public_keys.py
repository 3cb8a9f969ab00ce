"""Public keys of users: by which of them somebody may push."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from refold.domain import user
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.domain.texts import canonical_json
from refold.projections.columns import indexable, integer, log_position, storable, table, text

NAME: Final = "public_keys"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"user"})

TABLE: Final = table(
    NAME,
    "One row a public key of a user.",
    text("user_id", "whose key it is, as in users", key=True),
    text("fingerprint", "SHA256:… of the key", key=True),
    text("public_key", "the key: type and base64, without comment", null=True),
    text("key_name", "what its owner calls it", null=True),
    text("added_at", "when it was added, as their system wrote it", null=True),
    text("record", "all that is known of it, JSON, as their system keeps it"),
    log_position("position", "position of the event that added it"),
    integer("number", "its number, from 0, among the keys of that event"),
)
INDEXES: Final = (("fingerprint",),)
SEARCH: Final = None


class Row(NamedTuple):
    user_id: str
    fingerprint: str
    public_key: str | None
    key_name: str | None
    added_at: str | None
    record: str
    position: int
    number: int


def keys(event: Event) -> Iterable[tuple[str, str]]:
    owner = family_key(event.recorded.stream)
    match event.value:
        case user.KeyAdded(id) | user.KeyRemoved(id):
            fingerprints: Iterable[str] = [id]
        case user.Imported(keys=added, gone=gone):
            fingerprints = [*map(user.key_id, added), *gone]
        case user.Deleted(keys=gone) | user.Erased(keys=gone):
            fingerprints = gone
        case _:
            fingerprints = ()
    return [(owner, storable(each)) for each in fingerprints]


def family(key: tuple[str, str]) -> str:
    return f"user-{key[0]}"


def apply(key: tuple[str, str], row: Row | None, event: Event) -> Row | None:
    match event.value:
        case user.KeyAdded(record=record):
            return _row(key, record, event.recorded.position, 0)
        case user.Imported(keys=added):
            for number, record in enumerate(added):
                if storable(user.key_id(record)) == key[1]:
                    return _row(key, record, event.recorded.position, number)
            return None
        case user.KeyRemoved() | user.Deleted() | user.Erased():
            return None
        case _:
            return row


def _row(key: tuple[str, str], record: Any, position: int, number: int) -> Row:
    return Row(
        *key,
        indexable(record.get("key")),
        indexable(record.get("name")),
        indexable(record.get("addedAt")),
        canonical_json(record),
        position,
        number,
    )
