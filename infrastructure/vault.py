"""The vault: seals texts under a key for each subject, and destroys keys.

A text is sealed by AES-256-GCM and bound to its place in the log. The keys lie in the store,
wrapped by the vault's own key, which does not; under `~vault` lies a secret that tells whether the
right one is at hand, and that blinds personal claims.
"""

import hmac
import os
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from refold.domain.errors import KeyErased, WrongVaultKey
from refold.domain.ports import Key, Log
from refold.domain.sealing import ERASED, Erased, Sealed, marks
from refold.infrastructure.appending.sorting import closed
from refold.infrastructure.codec import canonical
from refold.infrastructure.vault_key import KEY_BYTES, KeyHolder

_NONCE_BYTES: Final = 12
_OWN: Final = "~vault"


class Vault:
    """Seals and opens for one store; `holder` is where its own key is."""

    def __init__(self, log: Log, holder: KeyHolder) -> None:
        self._log = log
        self.holder = holder
        self._opened: tuple[bytes, bytes] | None = None

    def sealing(self, stream: str, command_id: str) -> "Sealing":
        """Return what seals the events of one command."""
        return Sealing(self, stream, command_id)

    def open(self, sealed: Sealed) -> str | Erased:
        """Return the text, or ERASED. Raises `NoVaultKey` or `WrongVaultKey`."""
        return next(self.open_all([sealed]))

    def open_all(self, sealed: Iterable[Sealed]) -> Iterator[str | Erased]:
        """Yield the text of each, or ERASED; the keys are looked up at once."""
        boxes = list(sealed)
        keys = {key.subject: key.wrapped for key in self._log.keys([box.subject for box in boxes])}
        for box in boxes:
            wrapped = keys.get(box.subject)
            if wrapped is None:
                yield ERASED
            else:
                text = _decrypt(self.unwrap(box.subject, wrapped), _bytes(box.box), _place(box))
                yield text.decode("utf-8", "surrogatepass")

    def key(self, subject: str) -> bytes | None:
        """Return the key of `subject`, None when there is none yet. Raises `KeyErased`."""
        for key in self._log.keys([subject]):
            if key.wrapped is None:
                raise KeyErased(subject)
            return self.unwrap(subject, key.wrapped)
        return None

    def wrap(self, subject: str, data_key: bytes) -> Key:
        """Return a key as it is kept."""
        own, _ = self._own()
        return Key(subject, _encrypt(own, data_key, _wrapping(subject)))

    def unwrap(self, subject: str, wrapped: bytes) -> bytes:
        """Return a key that is kept."""
        own, _ = self._own()
        return _decrypt(own, wrapped, _wrapping(subject))

    def blind(self, kind: str, value: str) -> str:
        """Return what stands for a personal value in a claim: equal for texts that mean the same.

        It is an HMAC-SHA256, in hex, of the value case-folded and in NFC.
        """
        _, secret = self._own()
        meant = unicodedata.normalize("NFC", value.casefold()).encode("utf-8", "surrogatepass")
        return hmac.new(secret, kind.encode() + b"\0" + meant, sha256).hexdigest()

    def check(self) -> None:
        """Make sure that texts can be sealed here, and make nothing: a copy may come here yet.

        Raises `NoVaultKey` or `WrongVaultKey`.
        """
        if self.is_made():
            self._own()
        else:
            self.holder.check()

    def is_made(self) -> bool:
        """Tell whether something may have been sealed here, or blinded."""
        return self._opened is not None or bool(self._log.keys([_OWN]))

    def take_over(self, other: "Vault") -> None:
        """Make sure that this vault opens what `other` has sealed, whose keys are to come here.

        A place that makes its own key takes the other's. Raises `NoVaultKey` or `WrongVaultKey`
        where it is not the one that is given here.
        """
        own, _ = other._own()
        if self.holder.make(own) != own:
            raise WrongVaultKey("the two stores have different vault keys")

    def _own(self) -> tuple[bytes, bytes]:
        """Return the vault's key and secret; both are made when the store is without them.

        A store that takes no commands makes none: those of a copy's source may be on their way.
        """
        if self._opened is None:
            if not self._log.keys([_OWN]):
                self._check_open()
                wrapped = _encrypt(self.holder.make(), os.urandom(KEY_BYTES), _wrapping(_OWN))
                self._log.merge_keys([Key(_OWN, wrapped)])
            [kept] = self._log.keys([_OWN])
            own = self.holder.read()
            self._opened = own, _decrypt(own, kept.wrapped or b"", _wrapping(_OWN))
        return self._opened

    def _check_open(self) -> None:
        for head in self._log.heads():
            if refusal := closed(head):
                raise refusal


class Sealing:
    """Seals the marked fields of a command's events; `keys` are those that are new with it."""

    def __init__(self, vault: Vault, stream: str, command_id: str) -> None:
        self.keys: dict[str, Key] = {}
        self._data_keys: dict[str, bytes] = {}
        self._vault, self._stream, self._command_id = vault, stream, command_id

    def seal(self, values: Iterable[Any]) -> Iterator[object]:
        """Yield the events of the command, in order, with marked texts sealed."""
        for number, value in enumerate(values):
            event: type = type(value)
            sealed = {
                name: self._sealed(value.subject, number, name, text)
                for name in marks(event)
                if isinstance(text := getattr(value, name), str)
            }
            yield replace(value, **sealed) if sealed else value

    def _sealed(self, subject: str, number: int, name: str, text: str) -> Sealed:
        place = (self._stream, self._command_id, number, name)
        sealed = Sealed(subject, place, "")
        clear = text.encode("utf-8", "surrogatepass")
        box = _encrypt(self._data_key(subject), clear, _place(sealed))
        return replace(sealed, box=b64encode(box).decode())

    def _data_key(self, subject: str) -> bytes:
        if subject not in self._data_keys:
            data_key = self._vault.key(subject)
            if data_key is None:
                data_key = os.urandom(KEY_BYTES)
                self.keys[subject] = self._vault.wrap(subject, data_key)
            self._data_keys[subject] = data_key
        return self._data_keys[subject]


def digest(keys: Iterable[Key]) -> str:
    """Return the SHA-256 over keys in the order of their subjects, in hex."""
    total = sha256()
    for key in keys:
        wrapped = key.wrapped.hex() if key.wrapped is not None else "erased"
        total.update(canonical((key.subject, wrapped)) + b"\n")
    return total.hexdigest()


# --- AES-GCM --------------------------------------------------------------------------


def _encrypt(key: bytes, clear: bytes, bound_to: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, clear, bound_to)


def _decrypt(key: bytes, box: bytes, bound_to: bytes) -> bytes:
    try:
        return AESGCM(key).decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], bound_to)
    except (InvalidTag, ValueError):
        raise WrongVaultKey("the vault's key does not open what this store has sealed") from None


def _bytes(box: str) -> bytes:
    """Return what base64 stands for; nothing, which no key opens, where it is none."""
    try:
        return b64decode(box)
    except ValueError:
        return b""


def _place(sealed: Sealed) -> bytes:
    return canonical((sealed.subject, *sealed.place))


def _wrapping(subject: str) -> bytes:
    return b"refold key 1\0" + subject.encode()
