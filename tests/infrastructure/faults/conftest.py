"""What the fault tests share: empty stores that other processes can reach, and secrets in them.

Whatever breaks, no secret is told: after each test all that was printed and written is searched.
"""

import secrets
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from refold.infrastructure.open import open_store
from refold.tests.addresses import own_url
from refold.tests.infrastructure.faults import processes


@pytest.fixture(autouse=True)
def vault_key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of sealed fields, given to this process and those that it starts."""
    key = secrets.token_hex(32)
    monkeypatch.setenv("REFOLD_VAULT_KEY", key)
    return key


@pytest.fixture(autouse=True)
def nothing_secret_is_told(
    vault_key: str,
    postgres: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> Iterator[None]:
    """Search what a test left behind for the vault's key, the database's password and sessions."""
    processes.told.clear()
    yield
    told = [*processes.told, *capfd.readouterr(), caplog.text]
    told += [path.read_bytes().decode("latin-1") for path in _files(tmp_path)]
    for secret in vault_key, urlsplit(postgres).password, "canary":
        assert not any(secret in text for text in told if secret), "a secret was told"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty store, once on SQLite and once on PostgreSQL.

    A test may ask for `postgres-3`: one of three partitions.
    """
    engine, _, partitions = request.param.partition("-")
    place = own_url(request, tmp_path, engine)
    open_store(place, create=True, partitions=int(partitions or 1)).close()
    return place
