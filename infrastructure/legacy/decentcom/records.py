"""What decentcom keeps of users, devices, sessions, media and attachments, one record a row."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import ClassVar, NamedTuple


class Time(NamedTuple):
    """A time as its column has it, and the µs since 1970 UTC that it names, rounded down."""

    text: str
    micros: int


@dataclass(frozen=True, slots=True)
class _Row:
    """`digest` is the SHA-256 of all columns, known or not, as canonical JSON by their names."""

    rowid: int
    digest: str


@dataclass(frozen=True, slots=True)
class User(_Row):
    """Somebody with an account; `pubkey` is the base58 of 32 bytes, `avatar_hash` any text."""

    table: ClassVar = "users"

    id: str
    pubkey: str
    display_name: str | None
    avatar_hash: str | None
    is_bot: bool
    created_at: Time
    updated_at: Time

    @property
    def key(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Device(_Row):
    """A device of a user; `pubkey` is the base58 of 32 bytes, `issued_at` what the client wrote."""

    table: ClassVar = "user_devices"

    id: str
    user_id: str
    pubkey: str = field(repr=False)
    x25519_pubkey: str = field(repr=False)
    device_name: str | None
    issued_at: str
    created_at: Time

    @property
    def key(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Session(_Row):
    """A session, live or expired. Its token is a secret, its key the SHA-256 of the token."""

    table: ClassVar = "sessions"

    token: str = field(repr=False)
    user_id: str
    created_at: Time
    expires_at: Time
    is_read_only: bool

    @property
    def key(self) -> str:
        return hidden(self.token)


@dataclass(frozen=True, slots=True)
class Media(_Row):
    """What was uploaded. Several rows may have one `content_hash`, a SHA-256."""

    table: ClassVar = "media"

    id: str
    content_hash: str
    mime_type: str
    size_bytes: int
    uploader_id: str
    created_at: Time

    @property
    def key(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class Attachment(_Row):
    """A file of a message, or of none yet; there need not be media with its `content_hash`."""

    table: ClassVar = "attachments"

    id: str
    message_id: str | None
    channel_id: str
    uploader_id: str
    filename: str
    content_hash: str
    size: int
    mime_type: str
    width: int | None
    height: int | None
    created_at: Time
    deleted_at: Time | None

    @property
    def key(self) -> str:
        return self.id


class Refusal(NamedTuple):
    """A row that is not kept. `key` is as in a record, empty when that is what is wrong."""

    table: str
    rowid: int
    key: str
    reason: str


def hidden(token: str) -> str:
    """Return what a session is known by instead of its token."""
    return sha256(token.encode()).hexdigest()


Record = User | Device | Session | Media | Attachment
