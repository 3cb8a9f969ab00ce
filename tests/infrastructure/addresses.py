"""Addresses of new stores, by the name of the engine."""

from pathlib import Path

import pytest


def new_url(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> str:
    """Return the address of no store yet: in the test's folder, its own database, or memory."""
    match engine:
        case "sqlite":
            return f"sqlite:///{tmp_path}/store.db"
        case "postgres":
            return str(request.getfixturevalue("postgres_url"))
        case _:
            return "memory:"
