"""Addresses of stores: what a person types, and what may be shown of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from refold.domain.errors import BadInput

SCHEMA: Final = "refold"
"""The schema of a PostgreSQL store unless its address names another."""

POSTGRES: Final = ("postgresql://", "postgres://")
"""What the address of a PostgreSQL database starts with."""


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
    def certificate(self) -> Path:
        """Return the file of the last certificate of a copy or move that ended here."""
        return self.path.with_name(self.path.name + "-certificate.json")

    @property
    def vault_key(self) -> Path:
        """Return the file of a generated vault key."""
        return self.path.with_name(f"{self.path.name}-vault-key")

    @property
    def public(self) -> str:
        """Return what may be shown: the absolute address."""
        return f"sqlite:///{self.path.absolute()}"


@dataclass(frozen=True, slots=True)
class Connecting:
    """How connections to PostgreSQL are made; times are in seconds.

    A store has at most `max_size` connections for its log and as many for its query tables. The
    password is what `password_command` prints, asked anew for each connection.
    """

    password_command: tuple[str, ...] = field(default=(), repr=False)
    insecure_tls: bool = False
    min_size: int = 1
    max_size: int = 8
    connect_seconds: int = 10
    silent_seconds: float = 20.0


ORDINARY: Final = Connecting()


@dataclass(frozen=True, slots=True)
class Postgres:
    """A store in a schema of a database: `postgresql://user@host/name?schema=refold`."""

    engine: ClassVar[str] = "postgresql"

    url: str
    schema: str
    connecting: Connecting = ORDINARY

    def __repr__(self) -> str:
        return f"Postgres({self.public!r})"

    @property
    def user(self) -> str:
        """Return the user as the address spells it, empty where it names none."""
        parts = urlsplit(self.url)
        given = parts.netloc.rpartition("@")[0]
        return dict(parse_qsl(parts.query)).get("user") or given.partition(":")[0]

    @property
    def public(self) -> str:
        """Return what may be shown: user, host, port and database, but no password."""
        parts = urlsplit(self.url)
        named = dict(parse_qsl(parts.query))
        where, user = parts.netloc.rpartition("@")[2], self.user
        host = named.get("host", where) + (f":{named['port']}" if "port" in named else "")
        database = named.get("dbname") or parts.path.removeprefix("/")
        shown = f"postgresql://{f'{user}@' if user else ''}{host}/{database}"
        return shown if self.schema == SCHEMA else f"{shown}?schema={self.schema}"


Address = Memory | Sqlite | Postgres


@dataclass(frozen=True, slots=True)
class Archive:
    """The log of a store in a file, which is no store: `archive:PATH`."""

    path: Path

    @property
    def public(self) -> str:
        """Return what may be shown: the absolute address."""
        return f"archive:{self.path.absolute()}"


def archive(url: str) -> Archive | None:
    """Return the archive that `url` is the address of, if it is one."""
    path = url.removeprefix("archive:")
    return Archive(Path(path)) if path not in ("", url) else None


def check_path(path: Path) -> None:
    """Raise `BadInput` for an address in the place of a path; nothing of it is shown."""
    if _ADDRESS.match(str(path)):
        raise BadInput(
            "a file or a folder is wanted here, and what was given looks like an address"
        )


_ADDRESS: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*:/", re.ASCII | re.IGNORECASE)


def parse(
    url: str, options: Mapping[str, str] | None = None, connecting: Connecting = ORDINARY
) -> Address:
    """Return the address that `url` is.

    `options`, libpq's and `schema`, are for what a PostgreSQL address leaves open. Raises
    `BadInput`; the message shows nothing of `url`, which may be a password put in a wrong place.
    """
    scheme, colon, rest = url.partition(":")
    match scheme:
        case "memory" if colon:
            return Memory()
        case "sqlite" if rest.startswith("///") and len(rest) > 3:
            return Sqlite(Path(rest[3:]))
        case _ if url.startswith(POSTGRES):
            return _postgres(url, options or {}, connecting)
        case "archive" if colon:
            raise BadInput("an archive is no store; refold copy and refold verify take one")
        case _:
            raise BadInput("a store's address starts with sqlite:///, postgresql:// or memory:")


def with_user(url: str, user: str | None) -> str:
    """Return an address of PostgreSQL with another user, any other as it is."""
    if not user or not url.startswith(POSTGRES):
        return url
    parts = urlsplit(url)
    where = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(user, safe='%')}@{where}").geturl()


_HOST: Final = r"(\[[^][@]*\]|[^][@:/,]*)(:\d*)?"
_AUTHORITY: Final = re.compile(rf"((?P<user>[^:@]*)(:[^@]*)?@)?(?P<where>{_HOST}(,{_HOST})*)")
_DATABASE: Final = re.compile(r"(/[^/@]*)?")


def _postgres(url: str, options: Mapping[str, str], connecting: Connecting) -> Postgres:
    try:
        parts = urlsplit(url)
        query = parts.query.replace("+", "%2B")  # a plus sign is one for libpq
        named = dict(parse_qsl(query, strict_parsing=bool(query)))
    except ValueError:
        raise _malformed() from None
    authority = _AUTHORITY.fullmatch(parts.netloc)
    if authority is None or "#" in url or not _DATABASE.fullmatch(parts.path):
        raise _malformed()
    taken = {"user"} if authority["user"] else set()
    taken |= {"host", "port"} if authority["where"] else set()
    taken |= {"password"} if ":" in parts.netloc.rpartition("@")[0] else set()
    taken |= {"dbname"} if len(parts.path) > 1 else set()
    named = {name: value for name, value in options.items() if name not in taken} | named
    schema = named.pop("schema", SCHEMA)
    if not schema.isidentifier() or not schema.isascii() or len(schema) > 50:
        raise BadInput("the schema of an address is at most 50 letters, digits and _")
    if schema.startswith("pg_") or schema == "information_schema":
        raise BadInput("the schema of an address is none of PostgreSQL's own, such as pg_…")
    query = f"?{urlencode(named, quote_via=quote)}" if named else ""
    return Postgres(f"postgresql://{parts.netloc}{parts.path}{query}", schema, connecting)


def _malformed() -> BadInput:
    return BadInput(
        "the PostgreSQL address is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE?NAME=VALUE"
        " with special characters in % encoding"
    )
