"""What the fault tests share: an empty store on each engine that other processes can reach."""

import secrets
from pathlib import Path

import pytest

from refold.infrastructure.open import open_store


@pytest.fixture(autouse=True)
def vault_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the key of sealed fields to this process and those that it starts."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", secrets.token_hex(32))


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store, once on SQLite and once on PostgreSQL."""
    place = (
        f"sqlite:///{tmp_path / 'store.db'}"
        if request.param == "sqlite"
        else str(request.getfixturevalue("postgres_url"))
    )
    open_store(place, create=True).close()
    return place
