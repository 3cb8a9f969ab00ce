"""Configuration: which store is meant, and how it is used, by `refold.toml` and the environment."""

import json
import os
import shlex
import tomllib
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from refold.domain.errors import BadInput
from refold.infrastructure import address
from refold.infrastructure.address import ORDINARY, Address, Connecting
from refold.infrastructure.blobs.presigning import LONGEST
from refold.infrastructure.limits import MOST_PARTITIONS, PAYLOAD_BYTES, UPLOAD_BYTES

FILE: Final = Path("refold.toml")
"""Read from the working directory when nothing nearer names a file or a store."""

TOUCH_SECONDS: Final = 60.0

FOR_ANY_STORE: Final = frozenset({"drift_seconds", "pool", "media"})
"""Keys of a file that do not name its store."""

LONGEST_TOUCH: Final = 1_000_000_000
"""Seconds."""


def _number(value: object) -> object:
    """Refuse a boolean, which Python counts as a number."""
    if isinstance(value, bool):
        raise ValueError("Input should be a number, not a boolean")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Number = Annotated[float, BeforeValidator(_number)]


class Environment(BaseSettings):
    """What the environment says of everything but `[storage]`.

    `REFOLD_STORE` is a store's address, `REFOLD_BLOBS` the folder of its blobs, `REFOLD_VAULT_KEY`
    the key of its sealed fields, `REFOLD_SESSION_TOUCH_SECONDS` how far the expiry of a session has
    to move before that is an event, unless the session is short, and `REFOLD_PAYLOAD_BYTES` how
    large an event may be.
    """

    model_config = SettingsConfigDict(
        env_prefix="REFOLD_", env_ignore_empty=True, frozen=True, hide_input_in_errors=True
    )

    store: SecretStr | None = None
    blobs: Path | None = None
    vault_key: SecretStr | None = None
    session_touch_seconds: float = Field(
        default=TOUCH_SECONDS, ge=0, le=LONGEST_TOUCH, allow_inf_nan=False
    )
    payload_bytes: int = Field(default=PAYLOAD_BYTES, ge=1)


class Pool(BaseModel):
    """The table `[storage.pool]`; times are in seconds, see `Connecting`."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    min_size: Whole = Field(default=ORDINARY.min_size, ge=1)
    max_size: Whole = Field(default=ORDINARY.max_size, ge=1)
    connect_seconds: Whole = Field(default=ORDINARY.connect_seconds, ge=1)
    silent_seconds: Number = Field(default=ORDINARY.silent_seconds, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.min_size > self.max_size:
            raise ValueError(f"min_size {self.min_size} is above max_size {self.max_size}")
        return self


class Media(BaseModel):
    """The table `[storage.media]`: large contents in a folder, or in a bucket of S3.

    An upload has at most `upload_bytes`. Without `access_key` and `secret_key` the AWS SDK looks
    for credentials itself.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    provider: Literal["disk", "s3"] = "disk"
    upload_bytes: Whole = Field(default=UPLOAD_BYTES, ge=1)
    folder: Path | None = None
    bucket: str | None = Field(default=None, min_length=1)
    region: str | None = None
    endpoint: str | None = Field(default=None, repr=False)  # may hold a password by mistake
    path_style: bool = False
    prefix: str = ""
    presign_seconds: Whole = Field(default=LONGEST, ge=1, le=LONGEST)
    access_key: SecretStr | None = None
    secret_key: SecretStr | None = None
    session_token: SecretStr | None = None

    @model_validator(mode="after")
    def _fits_its_provider(self) -> Self:
        given = self.model_fields_set - {"provider", "upload_bytes"}
        if foreign := given & {"folder"} if self.provider == "s3" else given - {"folder"}:
            raise ValueError(f"provider {self.provider} has no {min(foreign)}")
        if self.provider == "s3" and not self.bucket:
            raise ValueError("provider s3 needs bucket")
        return self


def _words(command: object) -> object:
    """Split a command as a shell would, but for a list, in the environment as JSON."""
    if not isinstance(command, str):
        return command
    try:
        return json.loads(command) if command.startswith("[") else shlex.split(command)
    except ValueError:
        raise ValueError("a list of arguments, or a string that can be split into them") from None


class Storage(BaseSettings):
    """The table `[storage]` of `refold.toml`, with what `REFOLD_…` says of the same keys."""

    model_config = SettingsConfigDict(
        env_prefix="REFOLD_",
        env_prefix_target="all",
        env_nested_delimiter="_",
        env_nested_max_split=1,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    backend: Literal["sqlite", "postgres", "postgresql", "memory"] | None = None
    database_path: str | None = None
    database_url: SecretStr | None = None
    host: str | None = None
    port: Whole | None = Field(default=None, ge=1, le=65_535)
    user: str | None = None
    password: SecretStr | None = None
    password_command: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)] = Field(
        default=(), repr=False
    )
    database: str | None = None
    schema_: str | None = Field(default=None, alias="schema")
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = (
        None
    )
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None
    insecure_tls: bool = False
    drift_seconds: Number | None = Field(default=None, ge=1, allow_inf_nan=False)
    partitions: Whole | None = Field(default=None, ge=1, le=MOST_PARTITIONS)
    pool: Pool = Pool()
    media: Media = Media()

    @classmethod
    def settings_customise_sources(  # the environment comes before what is given, the file
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @model_validator(mode="after")
    def _has_one_password(self) -> Self:
        if self.password and self.password_command:
            raise ValueError("password and password_command are both given")
        return self

    def address(self) -> Address:
        """Return the address that these keys name. Raises `BadInput` when something is missing."""
        if self.backend == "memory":
            return address.Memory()
        if self.backend == "sqlite":
            if not self.database_path:
                raise BadInput("[storage] with backend sqlite needs database_path")
            return self.at(f"sqlite:///{self.database_path}")
        if self.database_url:
            return self.postgres(self.database_url)
        if not self.database:
            raise BadInput("[storage] with backend postgres needs database_url or database")
        return self.at("postgresql://", {"host": self.host or "localhost"})

    def postgres(self, url: SecretStr) -> Address:
        """Return the address `url` as `at` does. Raises `BadInput` unless it is PostgreSQL's."""
        place = self.at(url.get_secret_value())
        if not isinstance(place, address.Postgres):
            raise BadInput("an address of PostgreSQL starts with postgresql://")
        return place

    def at(self, url: str, options: Mapping[str, str] | None = None) -> Address:
        """Return the address `url`, gaps filled with `options`, then these keys.

        Raises `BadInput`.
        """
        return address.parse(url, {**self._options(), **(options or {})}, self.connecting)

    def elsewhere(self, url: str) -> Address:
        """Return the address `url` of no store of refold: these keys secure it, and say no more.

        Raises `BadInput`.
        """
        connecting = replace(self.connecting, password_command=())
        return address.parse(url, self._tls(), connecting)

    @property
    def connecting(self) -> Connecting:
        """Return how connections to PostgreSQL are made."""
        return Connecting(self.password_command, self.insecure_tls, **self.pool.model_dump())

    def _options(self) -> dict[str, str]:
        """Return what libpq is told, and the schema."""
        options = {
            "host": self.host,
            "port": self.port,
            "user": self.user,
            "password": self.password and self.password.get_secret_value(),
            "dbname": self.database,
            "schema": self.schema_,
        }
        return {name: str(value) for name, value in options.items() if value} | self._tls()

    def _tls(self) -> dict[str, str]:
        """Return what libpq is told of how a connection is secured."""
        options = {
            "sslmode": self.sslmode,
            "sslrootcert": self.sslrootcert,
            "sslcert": self.sslcert,
            "sslkey": self.sslkey,
        }
        return {name: str(value) for name, value in options.items() if value}


class Systems(BaseSettings):
    """What the environment says by the names that other systems use; libpq reads more `PG…`."""

    model_config = SettingsConfigDict(env_ignore_empty=True, hide_input_in_errors=True)

    storage_type: Literal["sqlite", "postgres", "postgresql", "memory"] | None = None
    database_path: str | None = None
    pghost: str | None = None
    pgport: str | None = None
    pguser: str | None = None
    pgdatabase: str | None = None
    git_proxy_postgres_connection_string: SecretStr | None = None

    def address(self, storage: Storage) -> Address | None:
        """Return the address that they name, if any. Raises `BadInput`."""
        match self.storage_type:
            case None:
                url = self.git_proxy_postgres_connection_string
                return storage.postgres(url) if url else None
            case "memory":
                return address.Memory()
            case "sqlite":
                if not self.database_path:
                    raise BadInput("STORAGE_TYPE=sqlite needs DATABASE_PATH")
                return storage.at(f"sqlite:///{self.database_path}")
            case _:
                return self._postgres(storage)

    def _postgres(self, storage: Storage) -> Address:
        if not self.pgdatabase:
            raise BadInput("STORAGE_TYPE=postgres needs PGDATABASE")
        named = {
            "host": self.pghost,
            "port": self.pgport,
            "user": self.pguser,
            "dbname": self.pgdatabase,
        }
        return storage.at("postgresql://", {name: value for name, value in named.items() if value})


class NoStoreNamed(BadInput):
    """Nothing says which store is meant."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that refold is told; read it once with `read`, and pass it on.

    `store` is the address of the store that is named, if one is. `storage` is what holds for a
    store at any address: `REFOLD_…`, and of the file what is `FOR_ANY_STORE`. `touch_step` is how
    many µs the expiry of a session has to move before that is an event, `payload_bytes` how large
    one may be. `partitions` are those of a store that is made.
    """

    store: Address | None
    storage: Storage
    media: Media
    vault_key: SecretStr | None
    touch_step: int = int(TOUCH_SECONDS * 1_000_000)
    payload_bytes: int = PAYLOAD_BYTES
    partitions: int | None = None

    def address(self, url: str | None = None) -> Address:
        """Return the address `url`, or that of the store that is named. Raises `BadInput`."""
        if url is not None:
            return self.storage.at(url)
        if self.store is None:
            raise NoStoreNamed(
                "no store is named: give --store, --config or REFOLD_STORE, or a refold.toml"
            )
        return self.store


def read(store: str | None = None, config: Path | None = None) -> Settings:
    """Return the settings. The first of these that names a store is meant:

    1. the address `store`,
    2. the file `config`,
    3. `REFOLD_STORE`,
    4. `REFOLD_BACKEND` with its parts, or `refold.toml` in the working directory,
    5. what other systems set: `STORAGE_TYPE` with `PG…` or `DATABASE_PATH`, then
       `GIT_PROXY_POSTGRES_CONNECTION_STRING`.

    The keys of a file that name its store hold for no other store; those `FOR_ANY_STORE` do. Each
    key's own `REFOLD_` name comes before the file. With `store`, no `refold.toml` is looked for.
    Raises `BadInput`, which names the key and what is wanted, and no secret.
    """
    path = config or (FILE if store is None and FILE.exists() else None)
    keys = _keys(path) if path else {}
    whole = _checked(Storage, keys, path)
    if keys.keys() - FOR_ANY_STORE and not whole.backend:
        raise BadInput(f"{path}: storage.backend: Field required")
    apart = of_environment({key: keys[key] for key in keys.keys() & FOR_ANY_STORE}, path)
    named = _checked(Environment).store
    if store is not None:
        return replace(apart, store=apart.address(store))
    if whole.backend and (config or not named):
        return replace(apart, store=whole.address(), partitions=whole.partitions)
    if named:
        return replace(apart, store=apart.address(named.get_secret_value()))
    return replace(apart, store=_checked(Systems).address(apart.storage))


def of_environment(keys: Mapping[str, Any] | None = None, path: Path | None = None) -> Settings:
    """Return what `REFOLD_` names say for any store, before `keys` of `[storage]` in a file."""
    environment = _checked(Environment)
    storage = _checked(Storage, keys, path)
    media = storage.media
    if folder := environment.blobs:
        media = Media(folder=folder, upload_bytes=media.upload_bytes)
    touch_step = int(environment.session_touch_seconds * 1_000_000)
    most = environment.payload_bytes
    key = environment.vault_key
    return Settings(None, storage, media, key, touch_step, most, storage.partitions)


def _keys(path: Path) -> dict[str, Any]:
    """Return the table `[storage]` of a file but empty texts; the keys of it are known."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else _place(error)
        raise BadInput(f"{path} cannot be read as TOML: {why}") from None
    keys = document.get("storage", {})
    if not isinstance(keys, dict):
        raise BadInput(f"{path}: storage: Input should be a table")
    known = {field.alias or name for name, field in Storage.model_fields.items()}
    unknown = [*(document.keys() - {"storage"}), *(f"storage.{key}" for key in keys.keys() - known)]
    if unknown:
        raise BadInput(f"{path}: unknown key {min(unknown)}")
    for name, table in (("pool", Pool), ("media", Media)):
        if isinstance(keys.get(name), dict):
            keys[name] = _given(keys[name], table.model_fields)
    return _given(keys, known)


def _given(keys: Mapping[str, Any], known: Container[str]) -> dict[str, Any]:
    """Leave out known keys with an empty text: it says nothing, as an empty variable does."""
    return {key: value for key, value in keys.items() if value != "" or key not in known}


def _place(error: ValueError) -> str:
    """Return where a file is wrong; what stands there may be part of a secret."""
    _, found, place = str(error).rpartition("(")
    return place.removesuffix(")") if found else "it is not UTF-8"


S = TypeVar("S", bound=BaseSettings)


def _checked(
    settings: type[S], keys: Mapping[str, Any] | None = None, path: Path | None = None
) -> S:
    try:
        return settings(**keys or {})
    except SettingsError as error:
        raise BadInput(f"the environment: {error}") from None  # names the key, without its value
    except ValidationError as error:
        raise _mistake(error, settings.model_config.get("env_prefix", ""), path) from None


def _mistake(error: ValidationError, prefix: str, path: Path | None) -> BadInput:
    """Return what is told of the first mistake: its key, and what is wanted there."""
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    keys = list(map(str, first["loc"]))
    variable = "_".join(filter(None, [prefix.removesuffix("_"), *keys])).upper()
    if path is None or variable in {name.upper() for name in os.environ}:
        place, key = "", variable
    else:
        place, key = f"{path}: ", ".".join(["storage", *keys])
    if first["type"] == "extra_forbidden":
        return BadInput(f"{place}unknown key {key}")
    return BadInput(f"{place}{key}: {first['msg'].removeprefix('Value error, ')}")
