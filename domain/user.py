"""A user: who may do something, by which names, and by which keys they are known.

What is known of a person is one sealed text, the *profile*: a JSON object as git-proxy keeps it,
unknown fields included, without `_id`, a password's hash and keys. It can be forgotten. Public
keys are public, and facts of their own.
"""

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import reduce
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final, NamedTuple, assert_never

from refold.domain.errors import Refused
from refold.domain.sealing import FORGOTTEN, PERSONAL, SECRET, Text
from refold.domain.texts import LONE_SURROGATE, IllFormedText, canonical_json, check_word

Record = Mapping[str, object]
"""A public key or a device as its system keeps it."""

# --- events -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Registered:
    """Somebody became known."""

    id: str
    subject: str
    profile: Text = field(metadata=PERSONAL, repr=False)
    password: Text | None = field(metadata=SECRET, repr=False)
    """The hash of the password, None where there is none."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Fields of the profile were set, or went; without `password` its hash stays."""

    subject: str
    profile: Text = field(metadata=PERSONAL, repr=False)
    unset: tuple[str, ...]
    password: Text | None = field(default=None, metadata=SECRET, repr=False)


@dataclass(frozen=True, slots=True)
class KeyAdded:
    """A public key, by which the user may push; `id` is its fingerprint."""

    id: str
    record: Record


@dataclass(frozen=True, slots=True)
class KeyRemoved:
    id: str


@dataclass(frozen=True, slots=True)
class DeviceAdded:
    """A device with a key of its own."""

    id: str
    record: Record


@dataclass(frozen=True, slots=True)
class Deleted:
    """The user is gone, and with them the keys and devices that are named."""

    keys: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Erased:
    """The user is gone, and nobody can read any more who it was."""

    subject: str = field(metadata=FORGOTTEN)
    keys: tuple[str, ...]
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ContentsRemoved:
    """Contents that only this user used go with them, by SHA-256.

    No event up to the position `until` needs them: so far was looked who does. Where the log has
    several partitions, that is a position in each.
    """

    removed_blobs: tuple[str, ...]
    until: int | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """A legacy record replaced all that was known; `gone` are the keys that it has no more."""

    id: str
    subject: str
    profile: Text = field(metadata=PERSONAL, repr=False)
    password: Text | None = field(metadata=SECRET, repr=False)
    keys: tuple[Record, ...]
    gone: tuple[str, ...]


STORED_NAMES: Final = {  # stored forever: add lines, never edit or remove one
    "user.registered": Registered,
    "user.changed": Changed,
    "user.key_added": KeyAdded,
    "user.key_removed": KeyRemoved,
    "user.device_added": DeviceAdded,
    "user.deleted": Deleted,
    "user.erased": Erased,
    "user.imported": Imported,
    "user.contents_removed": ContentsRemoved,
}

Event = (
    Registered
    | Changed
    | KeyAdded
    | KeyRemoved
    | DeviceAdded
    | Deleted
    | Erased
    | Imported
    | ContentsRemoved
)

# --- state --------------------------------------------------------------------


_NONE: Final[Mapping[str, Any]] = MappingProxyType({})


class User(NamedTuple):
    """Without an `id` there is none; keys and devices by theirs. `erasures` counts forgettings.

    The subject outlives a deletion: what was sealed of the user can still be forgotten.
    """

    id: str = ""
    erasures: int = 0
    subject: str = ""
    profile: Record = _NONE
    password: Text | None = None
    keys: Mapping[str, Any] = _NONE
    devices: Mapping[str, Any] = _NONE

    @property
    def known(self) -> bool:
        return bool(self.id)

    def __repr__(self) -> str:
        return f"User(id={self.id!r}, subject={self.subject!r})"


def evolve(user: User, event: Event) -> User:
    match event:
        case Registered(id, subject, profile, password):
            return User(id, user.erasures, subject, parsed(profile), password)
        case Changed(subject, profile, unset, password):
            fields = parsed(profile)
            merged = {**user.profile, **fields}
            for name in unset:
                merged.pop(name, None)
            if password is None and "password" not in fields:
                password = user.password
            return user._replace(profile=merged, password=password)
        case KeyAdded(id, record):
            return user._replace(keys={**user.keys, id: record})
        case KeyRemoved(id):
            return user._replace(keys={key: of for key, of in user.keys.items() if key != id})
        case DeviceAdded(id, record):
            return user._replace(devices={**user.devices, id: record})
        case Deleted():
            return User(erasures=user.erasures, subject=user.subject)
        case Erased():
            return User(erasures=user.erasures + 1)
        case ContentsRemoved():
            return user
        case Imported(id, subject, profile, password, keys):
            by_id = {key_id(record): record for record in keys}
            return User(id, user.erasures, subject, parsed(profile), password, by_id, user.devices)
        case _:
            assert_never(event)


def after(*events: Event) -> User:
    return reduce(evolve, events, User())


def parsed(profile: Text) -> dict[str, Any]:
    """Return the fields of a profile; none of one that was erased."""
    found: dict[str, Any] = json.loads(profile) if isinstance(profile, str) else {}
    return found


# --- claims -------------------------------------------------------------------

NAME: Final = "user name"
EMAIL: Final = "e-mail"  # personal: what stands in its claims is a blinded address
OIDC_ID: Final = "oidc id"
PUBLIC_KEY: Final = "public key"
DEVICE_KEY: Final = "device key"

_CLAIMING: Final[Mapping[str, str]] = {
    "username": NAME,
    "email": EMAIL,
    "oidcId": OIDC_ID,
    "pubkey": PUBLIC_KEY,
}
"""Fields of the profile that one user only may have, and what claims them."""


def claims(user: User) -> Set[tuple[str, str]]:
    """Return what no other user may have: names, addresses, ids and keys that are not empty."""
    held = {
        (kind, value)
        for name, kind in _CLAIMING.items()
        if isinstance(value := user.profile.get(name), str) and value
    }
    held |= {(PUBLIC_KEY, each) for record in user.keys.values() for each in fingerprints(record)}
    return held | {(DEVICE_KEY, record["pubkey"]) for record in user.devices.values()}


# --- decisions ----------------------------------------------------------------


class UnknownUser(Refused):
    """There is no such user."""


class KnownUser(Refused):
    """There is a user with this id already."""


class KnownKey(Refused):
    """The user has this key already."""


class KnownDeviceKey(Refused):
    """Another device of the user has this key."""


class NotAProfile(Refused):
    """A field of a profile, a public key or a device is not what it has to be."""


class EmptyField(Refused):
    """Who has a name, an account or an address has one that can be read."""


def register(
    user: User, stream: str, id: str, profile: Record, password: str | None = None
) -> list[Event]:
    """Make a user known; `stream` is theirs, after which their sealed fields are named."""
    if user.known:
        raise KnownUser(f"there is a user {id} already")
    _check_filled(profile)
    return [Registered(id, _subject(user, stream), canonical_json(normal(profile)), password)]


def change(
    user: User,
    id: str,
    profile: Record,
    unset: Sequence[str] = (),
    password: str | None = None,
) -> list[Event]:
    """Set fields of the profile, and drop others; with `password` its hash is another one.

    A profile with a null `password` drops the hash, and so does `unset` with that name.
    """
    check_known(user, id)
    _check_filled(profile)
    new = normal(profile)
    fields = {name: new[name] for name in new if _differs(user.profile, name, new[name])}
    drops = "password" in new or ("password" in unset and password is None)
    if user.password is not None and drops:
        fields["password"] = None
    gone = tuple(sorted(name for name in set(unset) - new.keys() if name in user.profile))
    if not (fields or gone or password is not None):
        return []
    return [Changed(user.subject, canonical_json(fields), gone, password)]


def add_key(user: User, id: str, record: Record) -> list[Event]:
    """Add a public key: a record with `key`, and whatever else its system keeps of it."""
    check_known(user, id)
    key = key_id(record)
    if any(fingerprints(record) & fingerprints(each) for each in user.keys.values()):
        raise KnownKey(f"user {id} has key {key} already")
    return [KeyAdded(key, record)]


def remove_key(user: User, id: str, key: str) -> list[Event]:
    """Remove a public key by its fingerprint, or by itself; none like that is no error."""
    check_known(user, id)
    sought = {key, fingerprint_of(key)}
    return [KeyRemoved(each) for each, of in user.keys.items() if sought & fingerprints(of)]


def add_device(user: User, id: str, device: str, record: Record) -> list[Event]:
    """Add a device, or replace it: a record with `pubkey`, and whatever else is kept of it."""
    check_known(user, id)
    check_word("device id", device)
    pubkey = record.get("pubkey")
    if not isinstance(pubkey, str):
        raise NotAProfile("a device is a record with its key in `pubkey`")
    check_word("device key", pubkey)
    for other, known in user.devices.items():
        if other != device and known["pubkey"] == pubkey:
            raise KnownDeviceKey(f"device {other} of user {id} has this key already")
    return [] if user.devices.get(device) == record else [DeviceAdded(device, record)]


def delete(user: User) -> list[Event]:
    """Let a user go from the tables; there being none is no error."""
    return [Deleted(tuple(user.keys), tuple(user.devices))] if user.known else []


def erase(
    user: User, id: str, contents: Sequence[str] = (), until: int | tuple[int, ...] = 0
) -> list[Event]:
    """Destroy the key under which all is sealed that is known of a person, passwords included.

    `contents`, by SHA-256, are those that nobody else uses `until` there, and go with
    them. A user who was deleted can still be erased.
    """
    if not user.subject:
        raise UnknownUser(f"user {id} is not known")
    erased = Erased(user.subject, tuple(user.keys), tuple(user.devices))
    return [ContentsRemoved(tuple(contents), until), erased] if contents else [erased]


def import_record(
    user: User, stream: str, id: str, profile: Record, password: str | None, keys: Sequence[Record]
) -> list[Event]:
    """Take over a legacy record; devices stay. Of keys with one fingerprint the last counts."""
    by_id = {key_id(record): record for record in keys}
    gone = tuple(sorted(user.keys.keys() - by_id.keys()))
    text, kept = canonical_json(normal(profile)), tuple(by_id.values())
    return [Imported(id, _subject(user, stream), text, password, kept, gone)]


def _subject(user: User, stream: str) -> str:
    return user.subject or (f"{stream}#{user.erasures + 1}" if user.erasures else stream)


def _differs(profile: Record, name: str, value: object) -> bool:
    return name not in profile or canonical_json(profile[name]) != canonical_json(value)


# --- what a user's fields may be ------------------------------------------------


def check_known(user: User, id: str) -> None:
    if not user.known:
        raise UnknownUser(f"user {id} is not known")


LONGEST_TEXT: Final = 1_024
"""UTF-8 bytes of a name, an address or an id: claims index them."""


def normal(profile: Record) -> dict[str, Any]:
    """Return a profile as it is kept: name and address in lower case, no empty oidc id.

    Raises `NotAProfile` for a name, address or id that is no text, and for fields that are no
    part of a profile; `IllFormedText`, which does not show the text, for one that no claim holds.
    """
    kept = lower(profile)
    for name in {"_id", "publicKeys"} & kept.keys():
        raise NotAProfile(f"{name} is not a field of a profile")
    if kept.get("password") is not None:
        raise NotAProfile("a password is no field of a profile: its hash is kept apart")
    for name in _CLAIMING:
        value = kept.get(name)
        if isinstance(value, str):
            _check_indexable(name, value)
        elif value is not None:
            raise NotAProfile(f"{name} of a user is a text, not {type(value).__name__}")
    if kept.get("oidcId") == "":
        kept["oidcId"] = None
    return kept


def lower(profile: Record) -> dict[str, Any]:
    """Return fields of a profile with name and address in lower case."""
    return {
        field: value.lower() if field in ("username", "email") and isinstance(value, str) else value
        for field, value in profile.items()
    }


def _check_filled(profile: Record) -> None:
    for name in ("username", "gitAccount", "email"):
        value = profile.get(name)
        if isinstance(value, str) and not value.strip():
            raise EmptyField(f"{name} cannot be empty")


def _check_indexable(name: str, text: str) -> None:
    if "\0" in text or LONE_SURROGATE.search(text):
        raise IllFormedText(f"{name} of a user holds a NUL character or a lone surrogate")
    if len(text.encode()) > LONGEST_TEXT:
        raise IllFormedText(f"{name} of a user is longer than {LONGEST_TEXT} bytes")


def key_id(record: Record) -> str:
    """Return what a public key is called: its fingerprint, computed if none that is one is given.

    Raises `NotAProfile` for a record without a key.
    """
    key, fingerprint = record.get("key"), record.get("fingerprint")
    if not isinstance(key, str) or not key:
        raise NotAProfile("a public key is a record with its text in `key`")
    if isinstance(fingerprint, str) and _FINGERPRINT.fullmatch(fingerprint):
        return fingerprint
    return fingerprint_of(key)


_FINGERPRINT: Final = re.compile("[!-~]{1,256}")


def fingerprints(record: Record) -> Set[str]:
    """Return the fingerprint that a public key came with, and the true one."""
    return {key_id(record), fingerprint_of(str(record["key"]))}


def fingerprint_of(key: str) -> str:
    """Return the fingerprint of an SSH key, `type base64 comment`, as ssh-keygen shows it."""
    parts = key.split()
    try:
        blob = b64decode(parts[1] if len(parts) > 1 else key, validate=True)
    except ValueError:
        blob = key.encode("utf-8", "surrogatepass")
    return "SHA256:" + b64encode(sha256(blob).digest()).decode().rstrip("=")
