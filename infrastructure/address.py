"""Addresses of stores: what a person types, and what may be shown of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from refold.domain.errors import BadInput

SCHEMA: Final = "refold"
"""The schema of a PostgreSQL store unless its address names another."""


@dataclass(frozen=True, slots=True)
class Memory:
    """A store in this process: `memory:`."""

    engine: ClassVar[str] = "memory"

    @property
    def public(self) -> str:
        """Return what may be shown."""
        return "memory:"


@dataclass(frozen=True, slots=True)
class Sqlite:
    """A store in a file: `sqlite:///relative/path` or `sqlite:////absolute/path`."""

    engine: ClassVar[str] = "sqlite"

    path: Path

    @property
    def tables(self) -> Path:
        """Return the file of the query tables."""
        return self.path.with_name(f"{self.path.name}-tables")

    @property
    def blobs(self) -> Path:
        """Return the folder of the store's blobs, unless another one is named."""
        return self.path.with_name(f"{self.path.name}-blobs")

    @property
    def vault_key(self) -> Path:
        """Return the file of a generated vault key."""
        return self.path.with_name(f"{self.path.name}-vault-key")

    @property
    def public(self) -> str:
        """Return what may be shown: the absolute address."""
        return f"sqlite:///{self.path.absolute()}"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A store in a schema of a database: `postgresql://user@host/name?schema=refold`."""

    engine: ClassVar[str] = "postgresql"

    url: str
    schema: str

    def __repr__(self) -> str:
        return f"Postgres({self.public!r})"

    @property
    def public(self) -> str:
        """Return what may be shown: user, host, port and database, but no password."""
        parts = urlsplit(self.url)
        named = dict(parse_qsl(parts.query))
        given, _, where = parts.netloc.rpartition("@")
        user = named.get("user") or given.partition(":")[0]
        host = named.get("host", where) + (f":{named['port']}" if "port" in named else "")
        database = named.get("dbname") or parts.path.removeprefix("/")
        shown = f"postgresql://{f'{user}@' if user else ''}{host}/{database}"
        return shown if self.schema == SCHEMA else f"{shown}?schema={self.schema}"


Address = Memory | Sqlite | Postgres


def parse(url: str) -> Address:
    """Return the address that `url` is. Raises `BadInput`; the message shows no password."""
    scheme, colon, rest = url.partition(":")
    match scheme:
        case "memory" if colon:
            return Memory()
        case "sqlite" if rest.startswith("///") and len(rest) > 3:
            return Sqlite(Path(rest[3:]))
        case "postgresql" | "postgres" if rest.startswith("//"):
            return _postgres(url)
        case _:
            raise BadInput(
                f"a store's address starts with sqlite:///, postgresql:// or memory:, not with"
                f" {scheme[:20]!r}"
            )


def _postgres(url: str) -> Postgres:
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    except ValueError:
        raise BadInput("the PostgreSQL address cannot be read") from None
    schema = options.pop("schema", SCHEMA)
    if not schema.isidentifier() or not schema.isascii() or len(schema) > 50:
        raise BadInput(f"{schema!r} cannot be the name of a schema")
    query = f"?{urlencode(options)}" if options else ""
    return Postgres(f"postgresql://{parts.netloc}{parts.path}{query}", schema)
