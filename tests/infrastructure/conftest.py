"""Stores for tests of what stands on the engines: one of each, and one in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from refold.infrastructure.open import open_store
from refold.infrastructure.store import Store
from refold.tests.addresses import new_url


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of a store of each engine, which has a key and a place for blobs."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
    monkeypatch.setenv("REFOLD_BLOBS", str(tmp_path / "blobs"))
    return new_url(request, tmp_path, request.param)


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store."""
    with open_store(url, create=True) as store:
        yield store


@pytest.fixture
def memory() -> Iterator[Store]:
    """An empty store in memory."""
    with open_store("memory:") as store:
        yield store
