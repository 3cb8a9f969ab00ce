"""Hashes of passwords: argon2id for new ones, bcrypt as legacy stores have it."""

from threading import BoundedSemaphore
from typing import Final

import bcrypt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

MOST_AT_ONCE: Final = 4
"""Hashes that are computed at the same time; each takes 64 MiB."""

_HASHER: Final = PasswordHasher()
_AT_ONCE: Final = BoundedSemaphore(MOST_AT_ONCE)

BCRYPT_BYTES: Final = 72
"""What bcrypt reads of a password; it is cut there, as those did who made the hashes."""


def hash_password(password: str) -> str:
    """Return the hash of a password by argon2id."""
    with _AT_ONCE:
        return _HASHER.hash(password.encode("utf-8", "surrogatepass"))


def verify(hash: str, password: str) -> bool:
    """Tell whether `hash` is of `password`; never for what is no hash of argon2 or bcrypt."""
    given = password.encode("utf-8", "surrogatepass")
    with _AT_ONCE:
        try:
            if hash.startswith("$2"):
                return bcrypt.checkpw(given[:BCRYPT_BYTES], hash.encode())
            return _HASHER.verify(hash, given)
        except (VerificationError, InvalidHashError, ValueError):
            return False


def needs_rehash(hash: str) -> bool:
    """Tell whether to hash anew at the next login: bcrypt, older settings, or no hash at all."""
    try:
        return _HASHER.check_needs_rehash(hash)
    except InvalidHashError:
        return True
