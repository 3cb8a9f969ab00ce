"""Addresses of new stores, by the name of the engine."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest


def new_url(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> str:
    """Return the address of no store yet: in the test's folder, a schema of its own, or memory."""
    match engine:
        case "sqlite":
            return f"sqlite:///{tmp_path}/store.db"
        case "postgres":
            return str(request.getfixturevalue("schema_url"))
        case _:
            return "memory:"


def own_url(request: pytest.FixtureRequest, tmp_path: Path, engine: str) -> str:
    """Return the address of no store yet, in a database of its own.

    That is for who looks at all of it, and where processes are killed that hold locks.
    """
    url = str(request.getfixturevalue("postgres_url")) if engine == "postgres" else ""
    return url or new_url(request, tmp_path, engine)


def in_schema(database: str, schema: str) -> str:
    """Return the address of a store in that schema of the database at a url."""
    parts = urlsplit(database)
    return parts._replace(query="&".join(filter(None, (parts.query, f"schema={schema}")))).geturl()
