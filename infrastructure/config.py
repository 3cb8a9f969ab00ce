"""Configuration: which store is meant, by `refold.toml` or the environment."""

import tomllib
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from refold.domain.errors import BadInput

FILE: Final = Path("refold.toml")
"""Read from the working directory when nothing else says which store is meant."""


class Environment(BaseSettings):
    """What the environment says.

    `REFOLD_STORE` is a store's address, `REFOLD_BLOBS` the folder of its blobs, `REFOLD_VAULT_KEY`
    the key of its sealed fields, and `REFOLD_SESSION_TOUCH_SECONDS` how far the expiry of a session
    has to move before that is an event.
    """

    model_config = SettingsConfigDict(env_prefix="REFOLD_")

    store: SecretStr | None = None
    blobs: Path | None = None
    vault_key: SecretStr | None = None
    session_touch_seconds: float = Field(default=60.0, ge=0)


class Storage(BaseModel):
    """The table `[storage]` of `refold.toml`; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    backend: Literal["sqlite", "postgres", "postgresql", "memory"]
    database_url: SecretStr | None = None
    database_path: str | None = None
    host: str = "localhost"
    port: int = 5432
    user: str | None = None
    password: SecretStr | None = None
    database: str | None = None
    schema_: str | None = Field(None, alias="schema")

    def url(self) -> str:
        """Return the address of the store. Raises `BadInput` when something is missing."""
        if self.backend == "memory":
            return "memory:"
        if self.backend == "sqlite":
            if not self.database_path:
                raise BadInput("[storage] with backend sqlite needs database_path")
            return f"sqlite:///{self.database_path}"
        if self.database_url:
            return self.database_url.get_secret_value()
        if not self.database:
            raise BadInput("[storage] with backend postgres needs database_url or database")
        login = quote(self.user, safe="") if self.user else ""
        if login and self.password:
            login += f":{quote(self.password.get_secret_value(), safe='')}"
        options = f"?{urlencode({'schema': self.schema_})}" if self.schema_ else ""
        at = f"{login}@" if login else ""
        return f"postgresql://{at}{self.host}:{self.port}/{quote(self.database)}{options}"


class NoStoreNamed(BadInput):
    """Nothing says which store is meant."""


def store_url(given: str | None = None, config: Path | None = None) -> str:
    """Return the address that is `given`, or `config` names, or the environment, or refold.toml.

    Raises `BadInput`; the message holds no value of a secret.
    """
    if given:
        return given
    if config:
        return _from_file(config)
    environment = Environment()
    if environment.store:
        return environment.store.get_secret_value()
    if FILE.exists():
        return _from_file(FILE)
    raise NoStoreNamed(
        "no store is named: give --store, --config or REFOLD_STORE, or a refold.toml"
    )


def blobs_folder() -> Path | None:
    """Return the folder of blobs that the environment names."""
    return Environment().blobs


def vault_key() -> SecretStr | None:
    """Return the key of sealed fields that the environment gives."""
    return Environment().vault_key


def touch_step() -> int:
    """Return how many µs the expiry of a session has to move before that is an event."""
    return int(Environment().session_touch_seconds * 1_000_000)


def _from_file(path: Path) -> str:
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read as TOML: {error}") from error
    if unknown := sorted(document.keys() - {"storage"}):
        raise BadInput(f"{path}: unknown key {unknown[0]}")
    try:
        return Storage.model_validate(document.get("storage", {})).url()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise BadInput(f"{path}: storage.{field}: {first['msg']}") from None
