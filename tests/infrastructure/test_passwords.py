"""Hashes of passwords: what is hashed here, and what legacy stores bring."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import bcrypt
import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st

from refold.infrastructure import passwords
from refold.infrastructure.passwords import (
    BCRYPT_BYTES,
    MOST_AT_ONCE,
    hash_password,
    needs_rehash,
    verify,
)

BY_OTHERS = {
    "a": "$2a$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe",
    "abc": "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i",
}
"""Published samples of bcrypt, made by other programs."""


@pytest.mark.parametrize(
    "password", ["", "secret", "pässwörd 🙂", "nul\0", "half \ud800", "x" * 9_000]
)
def test_a_password_fits_its_own_hash_and_no_other_does(password: str) -> None:
    hash = hash_password(password)

    assert hash.startswith("$argon2id$")
    assert verify(hash, password)
    assert not verify(hash, password + "x")
    assert not verify(hash, password.upper() + " ")
    assert password not in hash or not password


def test_no_two_hashes_are_equal() -> None:
    assert hash_password("secret") != hash_password("secret")


@pytest.mark.parametrize(("password", "hash"), BY_OTHERS.items())
@pytest.mark.parametrize("version", ["$2a", "$2b", "$2y"])
def test_what_others_hashed_by_bcrypt_is_verified(password: str, hash: str, version: str) -> None:
    hash = version + hash.removeprefix("$2a")

    assert verify(hash, password)
    assert not verify(hash, password + "x")
    assert not verify(hash[:-2] + "A" + hash[-1], password)


def test_of_a_password_over_72_bytes_bcrypt_reads_the_first_72() -> None:
    hash = bcrypt.hashpw(b"x" * BCRYPT_BYTES, bcrypt.gensalt(10, b"2b")).decode()
    cut = bcrypt.hashpw(("é" * 40).encode()[:BCRYPT_BYTES], bcrypt.gensalt(4)).decode()
    inside = bcrypt.hashpw(("x" + "é" * 40).encode()[:BCRYPT_BYTES], bcrypt.gensalt(4)).decode()

    assert BCRYPT_BYTES == 72
    assert verify(hash, "x" * 72)
    assert verify(hash, "x" * 1_000)
    assert not verify(hash, "x" * 71)
    assert verify(cut, "é" * 40)
    assert verify(inside, "x" + "é" * 40)  # the last character is cut in half


NO_HASHES = [
    "",
    "secret",
    "$2",
    "$2b$10$",
    "$2b$99$3ToVzXLviyHI24Qni3sR5z4eRIWTXqJfkwWRkUdXQKh1nJ6EzClA4",
    "$2b$10$\0\ud800",
    "$argon2id$",
    "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$xx",
    "\ud800",
]


@pytest.mark.parametrize("hash", NO_HASHES)
def test_what_is_no_hash_fits_nothing_and_is_to_be_replaced(hash: str) -> None:
    assert not verify(hash, hash)
    assert not verify(hash, "secret")
    assert needs_rehash(hash)


@given(st.text(st.characters() | st.characters(categories=["Cs"])), st.text())
def test_no_text_makes_a_hash_of_itself(hash: str, password: str) -> None:
    assert not verify(hash, password)
    assert not verify(f"$2b$04${hash}", password)
    assert not verify(f"$argon2id${hash}", password)


def test_bcrypt_and_weaker_settings_are_to_be_replaced() -> None:
    weaker = PasswordHasher(time_cost=1, memory_cost=64).hash("secret")

    assert verify(weaker, "secret")
    assert needs_rehash(weaker)
    assert needs_rehash(BY_OTHERS["abc"])
    assert not needs_rehash(hash_password("secret"))


def test_more_than_may_be_computed_at_once_wait_for_their_turn() -> None:
    hash = BY_OTHERS["abc"]

    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as busy:
            for _ in range(MOST_AT_ONCE):
                busy.enter_context(passwords._AT_ONCE)
            fits = pool.submit(verify, hash, "abc")
            with pytest.raises(TimeoutError):
                fits.result(timeout=0.1)

        assert fits.result(timeout=30)
