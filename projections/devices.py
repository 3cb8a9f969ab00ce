"""Devices of decentcom's users, each with keys of its own."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from refold.domain import user
from refold.domain.ports import Event
from refold.domain.streams import family_key
from refold.projections.columns import indexable, log_position, storable, table, text

NAME: Final = "devices"
VERSION: Final = 1  # bump when the rows would differ; the new table fills beside the old
KINDS: Final = frozenset({"user"})

TABLE: Final = table(
    NAME,
    "One row a device of a user.",
    text("user_id", "whose device it is, as in users", key=True),
    text("device_id", "the id that decentcom gave it", key=True),
    text("pubkey", "its Ed25519 key in base58", null=True),
    text("x25519_pubkey", "its key to encrypt for, in base58", null=True),
    text("device_name", "what its owner calls it", null=True),
    text("issued_at", "when its certificate was issued, as the client wrote it", null=True),
    text("created_at", "when it was added, as decentcom wrote it", null=True),
    log_position("position", "position of the event that added it"),
)
INDEXES: Final = (("pubkey",),)
SEARCH: Final = None

TEXTS: Final = ("pubkey", "x25519_pubkey", "device_name", "issued_at", "created_at")


class Row(NamedTuple):
    user_id: str
    device_id: str
    pubkey: str | None
    x25519_pubkey: str | None
    device_name: str | None
    issued_at: str | None
    created_at: str | None
    position: int


def keys(event: Event) -> Iterable[tuple[str, str]]:
    owner = family_key(event.recorded.stream)
    match event.value:
        case user.DeviceAdded(id):
            return [(owner, storable(id))]
        case user.Deleted(devices=gone) | user.Erased(devices=gone):
            return [(owner, storable(each)) for each in gone]
        case _:
            return []


def family(key: tuple[str, str]) -> str:
    return f"user-{key[0]}"


def apply(key: tuple[str, str], row: Row | None, event: Event) -> Row | None:
    match event.value:
        case user.DeviceAdded(record=record):
            texts: dict[str, Any] = {name: indexable(record.get(name)) for name in TEXTS}
            return Row(*key, **texts, position=event.recorded.position)
        case user.Deleted() | user.Erased():
            return None
        case _:
            return row
