"""decentcom's stores of users, sessions, media, attachments and device keys, on a refold store.

What is kept has decentcom's fields. Ids are ULIDs that are made here, times RFC 3339 texts;
imported ones are as decentcom wrote them.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from secrets import choice
from typing import Any, Final, Protocol
from uuid import uuid4

from refold.domain import attachment, times, user
from refold.domain.errors import BadInput, Claimed, Refused
from refold.domain.texts import IllFormedText, NotASha256, check_word
from refold.domain.uploads import InvalidId
from refold.infrastructure import clock
from refold.infrastructure.codec import canonical
from refold.infrastructure.commands import Done, carry_out, parse
from refold.infrastructure.legacy.decentcom.rows import instant
from refold.infrastructure.requests import users as user_requests
from refold.infrastructure.requests.media import kept
from refold.infrastructure.requests.request import Request
from refold.infrastructure.services import attachments, media, users
from refold.infrastructure.services.sessions import purge, show_session
from refold.infrastructure.store import Store
from refold.infrastructure.ulids import new_ulid
from refold.projections.columns import storable


class NotFound(Refused):
    """There is none of that name."""


class Conflict(Refused):
    """What may be there once is there already, or an attachment is not free to be attached."""


class WrongSize(Refused):
    """A content has more or fewer bytes than was said."""


# --- users ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class User:
    """Somebody with an account; `pubkey` is base58, exactly as it was given."""

    id: str
    pubkey: str
    display_name: str | None
    avatar_hash: str | None
    is_bot: bool
    created_at: str
    updated_at: str


class UserStore:
    """Accounts, each with a key of its own."""

    def __init__(self, store: Store, *, actor: str = "decentcom") -> None:
        self._store, self._actor = store, actor

    def create(self, pubkey: str, display_name: str | None = None, *, is_bot: bool = False) -> User:
        """Make an account. Raises `Conflict` when another has the key."""
        check_word("pubkey", pubkey)
        now = _now(self._store)
        made = User(new_ulid(), pubkey, display_name, None, is_bot, now, now)
        profile = {
            "pubkey": pubkey,
            "displayName": display_name,
            "isBot": is_bot,
            "createdAt": now,
            "updatedAt": now,
        }
        given = {name: value for name, value in profile.items() if value is not None}
        try:
            _run(self._store, self._actor, "user.register", id=made.id, profile=given)
        except Claimed as taken:
            raise Conflict(f"a user with pubkey {pubkey} exists already") from taken
        return made

    def get_by_id(self, id: str) -> User | None:
        """Return the user as the log has them now; None for nobody."""
        return _user(users.show_user(self._store, id))

    def get_by_pubkey(self, pubkey: str) -> User | None:
        """Return the user with exactly that key; None for nobody."""
        found = _user(users.find_user(self._store, public_key=pubkey))
        return found if found and found.pubkey == pubkey else None

    def update(
        self, id: str, *, display_name: str | None = None, avatar_hash: str | None = None
    ) -> User:
        """Set what is not None, and the time of the update. Raises `NotFound`."""
        fields = {"displayName": display_name, "avatarHash": avatar_hash}
        return self._change(id, {name: text for name, text in fields.items() if text is not None})

    def clear_avatar_hash(self, id: str) -> User:
        """Let a user have no avatar. Raises `NotFound`."""
        return self._change(id, {}, "avatarHash")

    def list(self) -> Sequence[User]:
        """Return all users, the oldest first; those of the same instant by their ids."""
        return sorted(filter(None, map(_user, users.list_users(self._store))), key=_age)

    def _change(self, id: str, profile: dict[str, str], *unset: str) -> User:
        profile["updatedAt"] = _now(self._store)
        fields = {"id": id, "profile": profile, "unset": list(unset)}
        try:
            _run(self._store, self._actor, "user.change", **fields)
        except (user.UnknownUser, IllFormedText) as unknown:
            raise _no_user(id) from unknown
        found = self.get_by_id(id)
        if found is None:
            raise NotFound(f"user {id!r} was deleted at once")
        return found


def _user(document: Mapping[str, Any] | None) -> User | None:
    """Return a user of decentcom; None for nobody, and for users of other systems."""
    if document is None or not {"pubkey", "createdAt", "updatedAt"} <= document.keys():
        return None
    return User(
        document["_id"],
        document["pubkey"],
        document.get("displayName"),
        document.get("avatarHash"),
        document.get("isBot") is True,
        document["createdAt"],
        document["updatedAt"],
    )


# --- sessions -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Session:
    """A session that lives; its token is with its holder alone."""

    user_id: str
    created_at: str
    expires_at: str
    is_read_only: bool


class SessionStore:
    """Sessions, found by tokens of which only hashes are kept."""

    def __init__(self, store: Store, *, actor: str = "decentcom") -> None:
        self._store, self._actor = store, actor

    def create(self, user_id: str, duration: timedelta, *, read_only: bool = False) -> str:
        """Begin a session and return its token, which nobody can look up again.

        Raises `NotFound` for no user.
        """
        _check_user(self._store, user_id)
        began = clock.now(self._store.log)
        try:
            expires_at = times.text(began + duration // timedelta(microseconds=1))
        except OverflowError as error:
            raise BadInput(f"a session cannot last for {duration}") from error
        token = choice("01234567") + "".join(choice(_BASE32) for _ in range(25))
        _run(
            self._store,
            self._actor,
            "session.set",
            sid=token,
            body=canonical({"createdAt": times.text(began), "expiresAt": expires_at}).decode(),
            expires_at=expires_at,
            user=user_id,
            read_only=read_only,
        )
        return token

    def get(self, token: str) -> Session | None:
        """Return the session; None when there is none, or its time is over."""
        found = show_session(self._store, token)
        if found is None or found.user is None:
            return None
        body = json.loads(found.body)
        if not {"createdAt", "expiresAt"} <= body.keys():  # of another system
            return None
        expires_at = _as_written(body["expiresAt"], found.expires_at)
        return Session(found.user, body["createdAt"], expires_at, found.read_only)

    def delete(self, token: str) -> None:
        """End a session. Raises `NotFound`, which does not show the token."""
        if _run(self._store, self._actor, "session.end", sid=token).outcome == "unchanged":
            raise NotFound("session not found")

    def delete_expired(self) -> int:
        """End the sessions whose time is over, and return how many."""
        return purge(self._store)


_BASE32: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def _as_written(text: str, expires_at: str) -> str:
    """Return the text of an expiry, which may be finer than a µs, unless that was moved since."""
    return text if instant(text) == times.micros(expires_at) else expires_at


# --- media ----------------------------------------------------------------------------


class MediaStore:
    """What was uploaded. One content is kept once, under its first id."""

    def __init__(self, store: Store, *, actor: str = "decentcom") -> None:
        self._store, self._actor = store, actor

    def put(
        self, content_hash: str, mime_type: str, size_bytes: int, uploader_id: str, data: bytes
    ) -> str:
        """Keep an upload and return its id: the first one, with its type and uploader, if known.

        Raises `WrongHash` or `WrongSize` for other bytes than was said, `NotFound` for no user, and
        keeps nothing then.
        """
        _check_size(content_hash, len(data), size_bytes)
        _check_user(self._store, uploader_id)
        found = media.put(
            self._store,
            [data],
            id=new_ulid(),
            mime_type=mime_type,
            uploader=uploader_id,
            expected=content_hash,
        )
        return found.media_id

    def get(self, id: str) -> bytes | None:
        """Return the bytes; None when there are no media of that id.

        Raises `NoSuchBlob` where the bytes are lost, and `BlobDiffers` where they are others.
        """
        try:
            found = media.open_media(self._store, id)
        except IllFormedText:
            return None
        return b"".join(found[1]) if found else None

    def get_by_content_hash(self, content_hash: str) -> tuple[str, bytes] | None:
        """Return MIME type and bytes; None for a hash that nothing has. Raises as `get`."""
        try:
            found = media.find_media(self._store, content_hash)
        except NotASha256:
            return None
        if found is None:
            return None
        return found.mime_type, b"".join(self._store.blobs.get(found.content_hash))

    def delete(self, id: str) -> None:
        """Forget media; the bytes stay. There being none is no error."""
        with suppress(IllFormedText, InvalidId):
            _run(self._store, self._actor, "media.delete", id=id)


def _check_size(content_hash: str, size: int, said: int) -> None:
    if size != said:
        raise WrongSize(f"content {content_hash} has {size} bytes, not {said}")


# --- attachments ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file of a message, or of none yet."""

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
    created_at: str
    deleted_at: str | None


class AttachmentStore:
    """Attachments of messages; their bytes were put as media before."""

    def __init__(self, store: Store, *, actor: str = "decentcom") -> None:
        self._store, self._actor = store, actor

    def create(
        self,
        channel_id: str,
        uploader_id: str,
        filename: str,
        content_hash: str,
        size: int,
        mime_type: str,
        width: int | None = None,
        height: int | None = None,
    ) -> Attachment:
        """Keep an attachment that no message shows yet.

        Raises `NoSuchBlob` when its bytes were not put, `WrongSize` when they are more or fewer,
        and `NotFound` for no user. Nobody knows of channels yet: any is taken.
        """
        _check_size(content_hash, kept(self._store, content_hash).size, size)
        _check_user(self._store, uploader_id)
        upload = {
            "id": new_ulid(),
            "channel": channel_id,
            "uploader": uploader_id,
            "filename": filename,
            "content_hash": content_hash,
            "mime_type": mime_type,
            "width": width,
            "height": height,
        }
        _run(self._store, self._actor, "attachment.create", **upload)
        found = self.get(str(upload["id"]))
        if found is None:
            raise NotFound(f"attachment {upload['id']} was deleted at once")
        return found

    def get(self, id: str) -> Attachment | None:
        """Return an attachment; None when there is none, or it was deleted."""
        try:
            found = attachments.show(self._store, id)
        except IllFormedText:
            return None
        return Attachment(*found) if found else None

    def associate(
        self,
        ids: Sequence[str],
        message_id: str,
        uploader_id: str,
        *,
        command_id: str | None = None,
    ) -> None:
        """Let a message show attachments: all of them, or `Conflict` and none.

        Each has to be the uploader's own, neither attached nor deleted. With the same
        `command_id` it is safe to ask again.
        """
        command_id = command_id or uuid4().hex
        try:
            attachments.attach_all(
                self._store, ids, message_id, uploader_id, command_id=command_id, actor=self._actor
            )
        except _NOT_FREE as refusal:
            raise Conflict(str(refusal)) from refusal

    def delete(self, id: str) -> None:
        """Hide an attachment; there being none is no error."""
        with suppress(IllFormedText, InvalidId):
            _run(self._store, self._actor, "attachment.delete", id=id)

    def list_by_message(self, message_id: str) -> Sequence[Attachment]:
        """Return what a message shows, the oldest first; those of the same instant by their ids."""
        found = attachments.list_of_message(self._store, message_id)
        return sorted((Attachment(*each) for each in found), key=_age)


_NOT_FREE: Final = (
    attachment.UnknownAttachment,
    attachment.DeletedAttachment,
    attachment.NotOwnAttachment,
    attachment.AlreadyAttached,
)


# --- device keys ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A device of a user with its keys in base58; `issued_at` is the client's time."""

    id: str
    user_id: str
    pubkey: str
    x25519_pubkey: str
    device_name: str | None
    issued_at: str
    created_at: str


class DeviceKeyStore:
    """Devices of users; a key is that of one device."""

    def __init__(self, store: Store, *, actor: str = "decentcom") -> None:
        self._store, self._actor = store, actor

    def add(
        self,
        user_id: str,
        pubkey: str,
        x25519_pubkey: str,
        device_name: str | None,
        issued_at: str,
    ) -> DeviceKey:
        """Add a device. Raises `Conflict` for a key that a device has, `NotFound` for no user."""
        record: dict[str, Any] = {
            "pubkey": pubkey,
            "x25519_pubkey": x25519_pubkey,
            "device_name": device_name,
            "issued_at": issued_at,
            "created_at": _now(self._store),
        }
        if storable(user_id) != user_id:  # nobody has such an id
            raise _no_user(user_id)
        id = new_ulid()
        fields = {"id": user_id, "device": id, "record": record}
        try:
            _run(self._store, self._actor, "user.add_device", **fields)
        except (Claimed, user.KnownDeviceKey) as taken:
            raise Conflict("another device has this pubkey already") from taken
        except user.UnknownUser as unknown:
            raise _no_user(user_id) from unknown
        return DeviceKey(id, user_id, **record)

    def list(self, user_id: str) -> Sequence[DeviceKey]:
        """Return a user's devices, the oldest first; those of the same instant by their ids."""
        try:
            events = self._store.history(user_requests.stream(user_id))
        except IllFormedText:
            return []
        found = user_requests.state(events).devices
        made = (DeviceKey(id, user_id, **record) for id, record in found.items())
        return sorted(made, key=_age)


# --- what all of them do --------------------------------------------------------------


def _run(store: Store, actor: str, name: str, **fields: object) -> Done:
    return _carry_out(store, actor, parse(name, fields))


def _carry_out(store: Store, actor: str, request: Request) -> Done:
    return carry_out(store, request, command_id=uuid4().hex, actor=actor)


def _check_user(store: Store, id: str) -> None:
    if not users.is_known(store, id):
        raise _no_user(id)


def _no_user(id: str) -> NotFound:
    return NotFound(f"user {id!r} not found")


def _now(store: Store) -> str:
    return times.text(clock.now(store.log))


class _Made(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def created_at(self) -> str: ...


def _age(made: _Made) -> tuple[int, str]:
    """Return what orders: instants, not texts, which come in several forms; then ids."""
    return instant(made.created_at), made.id
