"""What tests of an erasure share: the key of sealed fields."""

import pytest


@pytest.fixture(autouse=True)
def vault_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The key of sealed fields, for this process and those that it starts."""
    monkeypatch.setenv("REFOLD_VAULT_KEY", "5a" * 32)
