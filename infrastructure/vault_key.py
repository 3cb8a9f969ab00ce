"""The vault's own key, which is never in the store: given, in a file beside it, or in memory."""

import os
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final, Protocol

from refold.domain.errors import NoVaultKey, Unavailable, WrongVaultKey

KEY_BYTES: Final = 32


class KeyHolder(Protocol):
    """Where the vault's own key is."""

    def read(self) -> bytes:
        """Return the 32 bytes of the key. Raises `NoVaultKey`, or `WrongVaultKey` for a bad one."""
        ...

    def make(self, key: bytes | None = None) -> bytes:
        """Return the key that is here; where it may be made, a new one, or `key` if that is given.

        Raises `NoVaultKey` where there is none and none can be made.
        """
        ...

    def check(self) -> None:
        """Raise what `make` does where there is no key and none can be made; make none."""
        ...


class GivenKey:
    """The key that the configuration gives: 32 bytes, in hex or base64."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "GivenKey()"

    def read(self) -> bytes:
        text = self._text.strip()
        is_hex = len(text) == 2 * KEY_BYTES
        try:
            key = bytes.fromhex(text) if is_hex else b64decode(text, validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise WrongVaultKey("REFOLD_VAULT_KEY is not 32 bytes in hex or base64")
        return key

    def make(self, key: bytes | None = None) -> bytes:  # noqa: ARG002 - it is given already
        return self.read()

    def check(self) -> None:
        self.read()


class NoKey:
    """There is no key, and no place to make one."""

    def read(self) -> bytes:
        raise NoVaultKey("this store has sealed fields, and REFOLD_VAULT_KEY is not set")

    def make(self, key: bytes | None = None) -> bytes:  # noqa: ARG002 - it cannot be kept
        raise NoVaultKey("sealed fields need a key: set REFOLD_VAULT_KEY to 32 bytes in hex")

    def check(self) -> None:
        self.make()


class KeyFile:
    """A key in a file beside a SQLite store, for its owner alone; made when first needed."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> bytes:
        try:
            return GivenKey(self._path.read_text()).read()
        except FileNotFoundError:
            raise NoVaultKey(
                f"this store has sealed fields, and neither {self._path} nor REFOLD_VAULT_KEY"
                " is there"
            ) from None
        except WrongVaultKey:
            raise WrongVaultKey(f"{self._path} does not hold 32 bytes in hex") from None

    def make(self, key: bytes | None = None) -> bytes:
        try:
            self._keep((key or os.urandom(KEY_BYTES)).hex())
        except OSError as error:
            raise Unavailable(f"{self._path} cannot be made: {error.strerror}") from error
        return self.read()

    def check(self) -> None:
        if self._path.exists():
            self.read()

    def _keep(self, text: str) -> None:
        """Write the file, whole or not at all, unless another process was faster."""
        with NamedTemporaryFile("w", dir=self._path.parent, prefix=".refold-") as file:
            file.write(f"{text}\n")
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(file.name, self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class KeyInMemory:
    """A key that is gone with the process, as its store is."""

    def __init__(self) -> None:
        self._key = os.urandom(KEY_BYTES)

    def read(self) -> bytes:
        return self._key

    def make(self, key: bytes | None = None) -> bytes:
        self._key = key or self._key
        return self._key

    def check(self) -> None:
        """Find it: it was made with this object."""
