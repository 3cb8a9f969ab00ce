"""Connections to PostgreSQL, and what the driver's errors mean."""

import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlsplit

import psycopg
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import (
    DataCorrupted,
    IdleInTransactionSessionTimeout,
    IndexCorrupted,
    InsufficientPrivilege,
    ReadOnlySqlTransaction,
    TransactionTimeout,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoneFree

from refold.domain.errors import BadInput, Unavailable
from refold.infrastructure.address import ORDINARY, Connecting
from refold.infrastructure.patience import Passing
from refold.infrastructure.postgres.silence import Asking, Connection

UNAVAILABLE: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    InsufficientPrivilege,
    ReadOnlySqlTransaction,
    IdleInTransactionSessionTimeout,
    TransactionTimeout,
    DataCorrupted,
    IndexCorrupted,
)
"""The driver's errors that say that a store cannot be used, now or by this role."""

_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})
"""Connection lost, transaction rolled back, out of resources, ended by an operator, I/O error."""

_PASSING: Final = frozenset({"25P03", "25P04", "55P03"})
"""A transaction idle for too long, one that took too long, and a lock that was not to be had."""


class NoPassword(Unavailable):
    """The command that gives the password failed; what it printed is not told."""


class InsecureServer(BadInput):
    """Who answers at this address cannot be told for sure, and passwords are not sent there."""


class NobodyThere(Passing):
    """No server answers at this address, or it has no such database."""


def connect(
    address: str, connecting: Connecting = ORDINARY, *, autocommit: bool
) -> psycopg.Connection:
    """Return a connection. Raises `Unavailable`, and what `check` does."""
    return _connect(address, connecting, configure, autocommit=autocommit)


def connect_to_store(
    address: str, connecting: Connecting = ORDINARY, *, autocommit: bool
) -> psycopg.Connection:
    """Return a connection that finds nothing outside PostgreSQL's own schema without its schema.

    So what others have put into `public` never takes the place of what a statement means. Raises
    as `connect`.
    """
    return _connect(address, connecting, configure_for_store, autocommit=autocommit)


def _connect(
    address: str,
    connecting: Connecting,
    configure: Callable[[psycopg.Connection], None],
    *,
    autocommit: bool,
) -> psycopg.Connection:
    check(address, connecting)
    try:
        connection = Connection.connect(address, autocommit=True, **parameters(address, connecting))
        watch(connection, address, connecting)
        configure(connection)
        connection.autocommit = autocommit
        return connection
    except psycopg.Error as error:
        raise unavailable(address, error) from None  # the driver's text may hold parameters


def parameters(address: str, connecting: Connecting) -> dict[str, Any]:
    """Return what a new connection is made with besides its address. Raises `NoPassword`."""
    given, silent = conninfo_to_dict(address), connecting.silent_seconds
    parameters: dict[str, Any] = {
        "tcp_user_timeout": max(1_000, round(1_000 * silent)),
        "keepalives_idle": max(1, round(silent / 2)),
        "keepalives_interval": max(1, round(silent / 6)),
        "keepalives_count": 3,
    }
    parameters = {name: value for name, value in parameters.items() if name not in given}
    parameters["connect_timeout"] = connecting.connect_seconds
    parameters["client_encoding"] = "utf8"  # what is sent without the driver's help is UTF-8
    if connecting.password_command and "password" not in given:
        parameters["password"] = _password(connecting)
    return parameters


def check_encoding(connection: sa.Connection, public: str) -> None:
    """Raise `BadInput` where a database cannot hold every text. `public` is its address."""
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding != "UTF8":
        raise BadInput(
            f"{public} is a database of the encoding {encoding}, and a store needs one of UTF8:"
            " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def watch(connection: Connection, address: str, connecting: Connecting) -> None:
    """Let a connection be given up when nothing is heard of the server for too long."""

    def ask() -> Asking:
        other = Asking.connect(address, autocommit=True, **parameters(address, connecting))
        other.seconds = connecting.connect_seconds
        return other

    connection.ask = ask
    connection.silent_seconds = connecting.silent_seconds


def _password(connecting: Connecting) -> str:
    command = connecting.password_command
    failure = f"the password command {Path(command[0]).name}"
    try:
        ran = subprocess.run(  # noqa: S603 - the configuration says so
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=connecting.connect_seconds,
            check=True,
        )
        password = ran.stdout.decode().strip()
    except subprocess.CalledProcessError as error:
        raise NoPassword(f"{failure} ended with exit code {error.returncode}") from None
    except subprocess.TimeoutExpired as error:
        raise NoPassword(f"{failure} took longer than {error.timeout:g} s") from None
    except OSError as error:
        raise NoPassword(f"{failure} cannot be run: {error.strerror}") from None
    except ValueError:
        raise NoPassword(f"{failure} printed something else than text") from None
    if not password or "\0" in password:
        raise NoPassword(f"{failure} printed no password")
    return password


def check(address: str, connecting: Connecting) -> None:
    """Refuse an address that is not readable, or not safe: elsewhere, and not `verify-full`.

    What the address leaves open counts as libpq sees it, with `PG*` and `PGSERVICE`. Raises
    `BadInput`, and `InsecureServer` which is one.
    """
    try:
        given = conninfo_to_dict(address)
    except psycopg.Error:
        raise _unreadable(address) from None
    defaults = {
        option.keyword.decode(): option.val.decode()
        for option in psycopg.pq.Conninfo.get_defaults()
        if option.val
    }
    if "service" in given:  # a file that is read with the connection may say anything
        elsewhere, mode = f"service {given['service']}", given.get("sslmode")
    else:
        known = defaults | given
        hosts = f"{known.get('host', '')},{known.get('hostaddr', '')}".split(",")
        elsewhere = next((host for host in hosts if not is_here(host)), "")
        mode = known.get("sslmode")
    if elsewhere and mode != "verify-full" and not connecting.insecure_tls:
        raise InsecureServer(
            f"PostgreSQL at {elsewhere} is not on this machine: set sslmode to verify-full, and"
            " sslrootcert, or insecure_tls = true (REFOLD_INSECURE_TLS=1) to go without"
        )


def _unreadable(address: str) -> BadInput:
    """Return what is told of an address that libpq does not take; no part of a secret is named."""
    unreadable = BadInput("the PostgreSQL address cannot be read")
    try:
        query = urlsplit(address).query
    except ValueError:
        return unreadable
    known = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    for name in dict(parse_qsl(query)).keys() - known:
        may_be_secret = "@" in unquote(query)  # a password's end
        if not may_be_secret and re.fullmatch("[a-z_]+", name):
            return BadInput(f"the PostgreSQL address has a parameter that is not known: {name}")
    return unreadable


def is_here(host: str) -> bool:
    """Tell whether `host` is this machine: a socket's folder, or an address of loopback."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return not host or host[0] in "/@" or host.lower() == "localhost"


def configure(connection: psycopg.Connection) -> None:
    """Let each statement see what was committed before it, whatever the server's default is."""
    connection.execute("SET default_transaction_isolation TO 'read committed'")


def configure_for_store(connection: psycopg.Connection) -> None:
    """Configure a connection to a store: see `connect_to_store`."""
    configure(connection)
    connection.execute("SET search_path TO pg_catalog, pg_temp")


@contextmanager
def available(address: str) -> Iterator[None]:
    """Raise `Unavailable` for what the driver says of a server, also through SQLAlchemy."""
    try:
        yield
    except UNAVAILABLE as error:
        raise unavailable(address, error) from None
    except NoneFree:
        raise unavailable(address, None) from None
    except DBAPIError as error:
        if not isinstance(error.orig, UNAVAILABLE):
            raise
        raise unavailable(address, error.orig) from None


def is_passing(error: BaseException) -> bool:
    """Tell whether the same may go well when tried again: not where a right is missing.

    An error of the driver without a SQLSTATE is about the connection.
    """
    state = getattr(error, "sqlstate", None)
    if state is None:
        return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
    return state in _PASSING or state[:2] in _PASSING_CLASSES


def unavailable(address: str, error: BaseException | None) -> Unavailable:
    """Return what the caller is told of `error`: where, and SQLSTATE or the driver's class.

    It is `Passing` where it may help to try again; None is a connection that was not to be had.
    Why there is none is told by one of `_REASONS`, never by the driver's text.
    """
    try:
        known = conninfo_to_dict(address)
    except psycopg.Error:
        return Unavailable("the PostgreSQL address cannot be read")
    where = f"{known.get('host', 'localhost')}:{known.get('port', 5432)}/{known.get('dbname', '')}"
    state = getattr(error, "sqlstate", None)
    reason = f"SQLSTATE {state}" if state else _reason(error)
    kind = Passing if error is None or is_passing(error) else Unavailable
    if reason in _NOBODY:
        kind = NobodyThere
    return kind(f"PostgreSQL at {where} cannot be used: {reason}")


def _reason(error: BaseException | None) -> str:
    """Return why a connection was not made; libpq tells no code of that, only a text."""
    return next((why for why, said in _REASONS if said.search(str(error))), _UNKNOWN)


_UNKNOWN: Final = "there is no connection"
_NO_DATABASE: Final = "there is no such database"
_NO_HOST: Final = "its host is not known"
_NO_SOCKET: Final = "there is no socket of a server"
_REFUSED: Final = "the connection was refused"
_NOBODY: Final = frozenset({_NO_DATABASE, _NO_HOST, _NO_SOCKET, _REFUSED})

_REASONS: Final = tuple(
    (why, re.compile("|".join(said)))
    for why, *said in (
        (
            "authentication failed",
            "authentication failed",
            "no password supplied",
            r"no pg_hba\.conf entry",
            r"FATAL:\s+role .* does not exist",
        ),
        (_NO_DATABASE, r"FATAL:\s+database .* does not exist"),
        ("TLS failed", "SSL", "certificate"),
        ("it timed out", "timeout", "timed out"),
        (_NO_HOST, "failed to resolve host", "could not translate host name"),
        (_NO_SOCKET, "on socket .*No such file or directory"),
        (_REFUSED, "Connection refused"),
    )
)
"""Reasons, the first that fits counts, and what is in the text then: several hosts may be tried."""
