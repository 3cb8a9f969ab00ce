"""Where refold is told what: which place counts, what is refused, and that no secret gets out."""

import json
import logging
import os
import pickle
import re
import secrets
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal
from pydantic import SecretStr
from sqlalchemy import make_url

from refold.domain.errors import BadInput, Failure, NoPlaceForBlobs, Unavailable
from refold.infrastructure import config
from refold.infrastructure.address import ORDINARY, Connecting, Postgres, parse
from refold.infrastructure.blobs.s3 import S3Blobs
from refold.infrastructure.config import Media, Pool, Settings, Storage
from refold.infrastructure.open import open_at, open_store
from refold.infrastructure.postgres.cluster import throwaway
from refold.infrastructure.postgres.connection import (
    InsecureServer,
    NoPassword,
    check,
    connect,
    connect_to_store,
)
from refold.scripts import cli
from refold.tests.s3_server import S3Server

CANARY = "canary-7f3a9c"
SHA = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty working directory, and an environment that names no store."""
    for name in os.environ:
        if re.match("REFOLD_(?!TEST_)|PG|STORAGE_TYPE|DATABASE_|GIT_PROXY_", name):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path, **keys: object) -> Path:
    """Write `[storage]`; a dictionary is a table in it."""
    lines = ["[storage]", *_lines(keys)]
    for name, table in keys.items():
        if isinstance(table, dict):
            lines += [f"[storage.{name}]", *_lines(table)]
    path.write_text("\n".join(lines))
    return path


def _lines(keys: dict[str, Any]) -> list[str]:
    plain = {name: value for name, value in keys.items() if not isinstance(value, dict)}
    return [f"{name} = {json.dumps(value)}" for name, value in plain.items()]


def everything(error: BaseException) -> str:
    """Return all that a person or a log could see of an error."""
    return "".join([repr(error), str(vars(error)), *traceback.format_exception(error)])


# --- which place counts -----------------------------------------------------------------


def test_the_nearest_place_names_the_store(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def name(store: str | None = None, config_file: Path | None = None) -> str:
        return config.read(store, config_file).address().public.rpartition("/")[2]

    with pytest.raises(config.NoStoreNamed):
        name()
    monkeypatch.setenv("GIT_PROXY_POSTGRES_CONNECTION_STRING", "postgresql://localhost/gitproxy")
    assert name() == "gitproxy"
    monkeypatch.setenv("DATABASE_PATH", "systems.db")
    assert name() == "gitproxy"
    monkeypatch.setenv("STORAGE_TYPE", "sqlite")
    assert name() == "systems.db"
    write(here / "refold.toml", backend="sqlite", database_path="found.db")
    assert name() == "found.db"
    monkeypatch.setenv("REFOLD_STORE", "sqlite:///environment.db")
    assert name() == "environment.db"
    given = write(here / "given.toml", backend="sqlite", database_path="given.db")
    assert name(config_file=given) == "given.db"
    assert name("sqlite:///option.db", given) == "option.db"


def test_a_file_without_a_store_leaves_it_to_the_next_place(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write(here / "given.toml", pool={"max_size": 3})
    with pytest.raises(config.NoStoreNamed):
        config.read(config=given).address()

    monkeypatch.setenv("STORAGE_TYPE", "memory")
    assert config.read(config=given).address().public == "memory:"
    monkeypatch.setenv("REFOLD_STORE", "sqlite:///environment.db")
    assert config.read(config=given).address().public.endswith("environment.db")


def test_what_a_file_says_of_its_own_store_holds_for_no_other(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        here / "refold.toml",
        backend="postgres",
        host="localhost",
        database="files",
        user="ada",
        password=CANARY,
        insecure_tls=True,
        pool={"max_size": 3},
        media={"provider": "disk", "folder": "large"},
    )
    settings = config.read()
    monkeypatch.setenv("REFOLD_STORE", "postgresql://localhost/other")

    for other in (
        config.read().address(),
        settings.address("postgresql://localhost/other"),
        config.read("postgresql://localhost/other", here / "refold.toml").address(),
    ):
        assert other == Postgres("postgresql://localhost/other", "refold", Connecting(max_size=3))
    own = settings.address()
    assert isinstance(own, Postgres)
    assert CANARY in own.url
    assert own.connecting == Connecting(insecure_tls=True, max_size=3)
    assert config.read().media == Media(provider="disk", folder=Path("large"))


def test_with_an_address_on_the_command_line_no_file_is_looked_for(here: Path) -> None:
    (here / "refold.toml").write_text("this is not TOML")

    assert config.read("memory:").address().public == "memory:"
    with pytest.raises(BadInput, match=r"refold\.toml cannot be read as TOML: at line 1, column 6"):
        config.read()


FILE_AND_ENVIRONMENT: dict[str, tuple[object, str, object]] = {
    "backend": ("memory", "sqlite", "sqlite"),
    "database_path": ("a.db", "b.db", "b.db"),
    "database_url": ("postgresql://a/a", "postgresql://b/b", "postgresql://b/b"),
    "host": ("a", "b", "b"),
    "port": (1, "2", 2),
    "user": ("a", "b", "b"),
    "password": ("a", "b", "b"),
    "password_command": (["a"], "b 'c d'", ("b", "c d")),
    "database": ("a", "b", "b"),
    "schema": ("a", "b", "b"),
    "sslmode": ("prefer", "verify-full", "verify-full"),
    "sslrootcert": ("a", "b", "b"),
    "sslcert": ("a", "b", "b"),
    "sslkey": ("a", "b", "b"),
    "insecure_tls": (True, "0", False),
    "partitions": (2, "3", 3),
    "drift_seconds": (60, "300", 300.0),
    "pool.min_size": (1, "2", 2),
    "pool.max_size": (5, "6", 6),
    "pool.connect_seconds": (1, "2", 2),
    "pool.silent_seconds": (1.5, "2.5", 2.5),
    "media.provider": ("s3", "disk", "disk"),
    "media.upload_bytes": (10, "20", 20),
    "media.folder": ("a", "b", Path("b")),
    "media.bucket": ("aaa", "bbb", "bbb"),
    "media.region": ("a", "b", "b"),
    "media.endpoint": ("http://a", "http://b", "http://b"),
    "media.path_style": (True, "false", False),
    "media.prefix": ("a/", "b/", "b/"),
    "media.presign_seconds": (10, "20", 20),
    "media.access_key": ("a", "b", "b"),
    "media.secret_key": ("a", "b", "b"),
    "media.session_token": ("a", "b", "b"),
}


def test_every_key_is_tried() -> None:
    keys = {field.alias or name for name, field in Storage.model_fields.items()}
    keys |= {f"pool.{name}" for name in Pool.model_fields}
    keys |= {f"media.{name}" for name in Media.model_fields}

    assert set(FILE_AND_ENVIRONMENT) == keys - {"pool", "media"}


@pytest.mark.parametrize("key", FILE_AND_ENVIRONMENT)
def test_the_environment_comes_before_the_file(
    here: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    in_file, in_environment, meant = FILE_AND_ENVIRONMENT[key]
    table, _, name = key.rpartition(".")
    provider = {"folder": "disk", "provider": "disk"}.get(name, "s3")
    around: dict[str, object] = {}
    if table == "media":
        around = {"provider": "s3", "bucket": "aaa"} if provider == "s3" else {"provider": "disk"}
    keys = {table: around | {name: in_file}} if table else {name: in_file}
    path = write(here / "given.toml", **({"backend": "memory"} | keys))
    variable = f"REFOLD_{key.replace('.', '_').upper()}"
    if key == "media.provider":
        path = write(here / "given.toml", backend="memory", media={"provider": "s3"})
    monkeypatch.setenv(variable, in_environment)

    storage = config._checked(Storage, config._keys(path), path)

    found: Any = getattr(storage, table) if table else storage
    value = getattr(found, f"{name}_" if name == "schema" else name)
    value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    assert value == meant


def test_how_large_an_upload_may_be_holds_wherever_it_goes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(here / "given.toml", media={"upload_bytes": 7})
    unsaid = config.of_environment().media.upload_bytes
    in_file = config.read("memory:", path).media
    monkeypatch.setenv("REFOLD_BLOBS", "large")
    in_folder = config.read("memory:", path).media
    monkeypatch.setenv("REFOLD_MEDIA_UPLOAD_BYTES", "9")
    in_environment = config.of_environment().media

    assert unsaid == 100 << 20
    assert (in_file.folder, in_file.upload_bytes) == (None, 7)
    assert (in_folder.folder, in_folder.upload_bytes) == (Path("large"), 7)
    assert (in_environment.folder, in_environment.upload_bytes) == (Path("large"), 9)


def test_an_empty_text_of_a_file_says_nothing(here: Path) -> None:
    s3 = {"provider": "s3", "bucket": "media", "folder": "", "region": "", "endpoint": ""}
    keys = {"access_key": "", "secret_key": "", "session_token": ""}
    write(here / "one.toml", backend="memory", user="", media={"folder": ""}, pool={"min_size": ""})
    write(here / "other.toml", backend="memory", media=s3 | keys)

    on_disk, in_bucket = (config.read(config=here / f"{name}.toml") for name in ("one", "other"))

    assert on_disk == replace(in_bucket, storage=_storage(), media=Media())
    assert in_bucket.media == Media(provider="s3", bucket="media")


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STORE", "BLOBS", "VAULT_KEY", "HOST", "PASSWORD_COMMAND", "POOL_MAX_SIZE"):
        monkeypatch.setenv(f"REFOLD_{name}", "")
    monkeypatch.setenv("STORAGE_TYPE", "")

    settings = config.read()

    assert settings == Settings(None, _storage(), Media(), None)


@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ("postgresql://h/d", "postgresql://h/d?user=u&password=p%2B%20%26&sslmode=require"),
        ("postgresql://a@h/d", "postgresql://a@h/d?password=p%2B%20%26&sslmode=require"),
        ("postgresql://a:b@h/d?sslmode=allow", "postgresql://a:b@h/d?sslmode=allow"),
        (
            "postgresql:///?user=a+b&password=",
            "postgresql:///?host=a&port=5&user=a%2Bb&password=p%2B%20%26&dbname=x&sslmode=require",
        ),
    ],
)
def test_the_keys_fill_what_an_address_leaves_open(given: str, filled: str) -> None:
    storage = _storage(
        host="a",
        port=5,
        user="u",
        password="p+ &",
        database="x",
        sslmode="require",
    )

    assert storage.at(given) == Postgres(filled, "refold")


def test_the_systems_own_names_make_a_store(
    monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    parts = urlsplit(postgres_url)
    for name, value in {
        "STORAGE_TYPE": "postgres",
        "PGHOST": parts.hostname,
        "PGPORT": str(parts.port),
        "PGUSER": parts.username,
        "PGPASSWORD": parts.password,
        "PGDATABASE": parts.path[1:],
    }.items():
        monkeypatch.setenv(name, str(value))

    settings = config.read()

    with open_at(settings.address(), create=True, settings=settings) as store:
        assert store.log.heads()
        assert store.address.public == (
            f"postgresql://{parts.username}@{parts.hostname}:{parts.port}{parts.path}"
        )


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"STORAGE_TYPE": "sqlite"}, "STORAGE_TYPE=sqlite needs DATABASE_PATH"),
        ({"STORAGE_TYPE": "postgres"}, "STORAGE_TYPE=postgres needs PGDATABASE"),
        (
            {"STORAGE_TYPE": CANARY},
            "STORAGE_TYPE: Input should be 'sqlite', 'postgres', 'postgresql' or 'memory'",
        ),
    ],
)
def test_half_a_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], sentence: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(BadInput) as refused:
        config.read()

    assert str(refused.value) == sentence


# --- what is refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("nix = 1", "given.toml: unknown key nix"),
        ("[storage.nix]", "given.toml: unknown key storage.nix"),
        ("[storage]\n_env_file = '.env'", "given.toml: unknown key storage._env_file"),
        ("[storage]\nschema_ = 'x'", "given.toml: unknown key storage.schema_"),
        ("[storage]\nvault_key = 'x'", "given.toml: unknown key storage.vault_key"),
        ("[storage.pool]\nmax = 1", "given.toml: unknown key storage.pool.max"),
        (
            "[storage.media]\nprovider = 's3'\nbuket = 'x'",
            "given.toml: unknown key storage.media.buket",
        ),
    ],
)
def test_an_unknown_key_is_named_with_its_file(here: Path, text: str, sentence: str) -> None:
    (here / "given.toml").write_text(text)

    with pytest.raises(BadInput) as refused:
        config.read(config=Path("given.toml"))

    assert str(refused.value) == sentence


def test_an_unknown_name_of_a_table_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REFOLD_POOL_MAX", "1")

    with pytest.raises(BadInput, match=r"^unknown key REFOLD_POOL_MAX$"):
        config.read("memory:")


SOME_S3 = {"provider": "s3", "bucket": "media"}
WRONG: list[tuple[dict[str, object], str]] = [
    ({"backend": CANARY}, "storage.backend: Input should be 'sqlite', 'postgres', 'postgresql'"),
    ({"port": CANARY}, "storage.port: Input should be a valid integer"),
    ({"port": 70_000}, "storage.port: Input should be less than or equal to 65535"),
    ({"password": [CANARY]}, "storage.password: Input should be a valid string"),
    ({"database_url": [CANARY]}, "storage.database_url: Input should be a valid string"),
    ({"password_command": 7}, "storage.password_command: Input should be a valid tuple"),
    ({"password_command": f"echo '{CANARY}"}, "storage.password_command: a list of arguments, or"),
    ({"password_command": ["echo", [CANARY]]}, "storage.password_command.1: Input should be a v"),
    ({"password": CANARY, "password_command": "x"}, "storage: password and password_command are b"),
    ({"sslmode": CANARY}, "storage.sslmode: Input should be 'disable', 'allow', 'prefer'"),
    ({"insecure_tls": CANARY}, "storage.insecure_tls: Input should be a valid boolean"),
    ({"partitions": True}, "storage.partitions: Input should be a number"),
    ({"drift_seconds": True}, "storage.drift_seconds: Input should be a number"),
    ({"media": {"upload_bytes": True}}, "storage.media.upload_bytes: Input should be a number"),
    ({"pool": {"silent_seconds": True}}, "storage.pool.silent_seconds: Input should be a number"),
    ({"pool": CANARY}, "storage.pool: Input should be a valid dictionary"),
    ({"pool": {"min_size": 9}}, "storage.pool: min_size 9 is above max_size 8"),
    ({"pool": {"connect_seconds": 0}}, "storage.pool.connect_seconds: Input should be greater"),
    ({"pool": {"silent_seconds": CANARY}}, "storage.pool.silent_seconds: Input should be a valid"),
    ({"media": {"buckets": ""}}, "unknown key storage.media.buckets"),
    ({"media": {"bucket": CANARY}}, "storage.media: provider disk has no bucket"),
    ({"media": {"upload_bytes": 0}}, "storage.media.upload_bytes: Input should be greater than"),
    ({"media": {"upload_bytes": "1 MiB"}}, "storage.media.upload_bytes: Input should be a valid"),
    ({"media": {"provider": "s3"}}, "storage.media: provider s3 needs bucket"),
    ({"media": SOME_S3 | {"folder": CANARY}}, "storage.media: provider s3 has no folder"),
    ({"media": {"provider": "disk", "region": CANARY}}, "storage.media: provider disk has no reg"),
    ({"media": SOME_S3 | {"presign_seconds": 901}}, "storage.media.presign_seconds: Input should"),
    ({"media": SOME_S3 | {"secret_key": [CANARY]}}, "storage.media.secret_key: Input should be a"),
]


@pytest.mark.parametrize(("keys", "sentence"), WRONG)
def test_a_wrong_value_is_named_by_its_key_and_not_repeated(
    here: Path, keys: dict[str, object], sentence: str
) -> None:
    path = write(here / "given.toml", **({"backend": "memory"} | keys))

    with pytest.raises(BadInput) as refused:
        config.read(config=path)

    assert str(refused.value).startswith(f"{path}: {sentence}")
    assert CANARY not in everything(refused.value)


@pytest.mark.parametrize("name", ["PORT", "POOL", "MEDIA", "POOL_MAX_SIZE", "MEDIA_PROVIDER"])
def test_a_wrong_variable_is_named_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(f"REFOLD_{name}", CANARY)

    with pytest.raises(BadInput) as refused:
        open_store("memory:")

    assert name.lower() in str(refused.value).lower()
    assert CANARY not in everything(refused.value)


@pytest.mark.parametrize("seconds", ["inf", "nan", "1e305", "-1"])
def test_the_step_of_sessions_is_a_number_of_seconds(
    monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("REFOLD_SESSION_TOUCH_SECONDS", seconds)

    with pytest.raises(BadInput, match=r"^REFOLD_SESSION_TOUCH_SECONDS: Input should be "):
        config.read("memory:")


@pytest.mark.parametrize("text", [f"password = '{CANARY}", f'[storage]\npassword = "\\{CANARY}"'])
def test_what_is_not_toml_is_not_repeated(here: Path, text: str) -> None:
    (here / "refold.toml").write_text(text)

    with pytest.raises(BadInput, match="cannot be read as TOML: at ") as refused:
        config.read()

    assert CANARY not in everything(refused.value)


MALFORMED = [
    CANARY,
    f"{CANARY}:x",
    f"ada:{CANARY}@localhost/files",
    f"postgresql:{CANARY}",
    f"postgresql://ada:{CANARY}/x@localhost/files",
    f"postgresql://ada:1234/{CANARY}@localhost/files",
    f"postgresql://ada:1234#{CANARY}@localhost/files",
    f"postgresql://ada:{CANARY}#x@localhost/files",
    f"postgresql://ada:{CANARY}?x@localhost/files",
    f"postgresql://ada:x@{CANARY}@localhost/files",
    f"postgresql://ada:x:{CANARY}@[localhost/files",
    f"postgresql://ada:%zz{CANARY}@localhost/files",
    f"postgresql://localhost:x{CANARY}/files",
    f"postgresql://localhost/files?{CANARY}",
    f"postgresql://localhost/files?{CANARY}=1",
    f"postgresql://localhost/files?schema={CANARY}",
    f"postgresql://ada:x?schema={CANARY}@localhost/files",
    f"postgresql://ada:{CANARY}@192.0.2.1/files",
]


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize("place", ["argument", "file", "environment", "git-proxy"])
def test_an_address_that_is_refused_is_not_repeated(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    url: str,
    place: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    match place:
        case "file":
            write(here / "refold.toml", backend="postgres", database_url=url)
        case "environment":
            monkeypatch.setenv("REFOLD_STORE", url)
        case "git-proxy":
            monkeypatch.setenv("GIT_PROXY_POSTGRES_CONNECTION_STRING", url)

    with pytest.raises(BadInput) as refused:  # by the one or by the other
        open_at(config.read(url if place == "argument" else None).address())

    monkeypatch.setattr(
        sys, "argv", ["refold", "status"] + ["--store", url] * (place == "argument")
    )
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    seen = "".join([everything(refused.value), *capfd.readouterr(), caplog.text])
    assert str(refused.value) in seen
    assert CANARY not in seen


def test_settings_show_no_secret() -> None:
    storage = _storage(
        database_url=f"postgresql://ada:{CANARY}@localhost/files",
        password_command=["echo", CANARY],
        media={"provider": "s3", "bucket": "media", "access_key": CANARY, "secret_key": CANARY},
    )
    place = storage.at(f"postgresql://ada:{CANARY}@localhost/files")
    settings = Settings(place, storage, storage.media, SecretStr(CANARY))

    shown = (
        f"{settings!r} {settings} {place!r} {place.public} {storage} {storage.model_dump_json()}"
    )

    endpoint = Media(provider="s3", bucket="media", endpoint=f"https://ada:{CANARY}@localhost")
    shown += f"{endpoint} {replace(settings, media=endpoint)}"

    assert "ada" in shown
    assert CANARY not in shown.replace(json.dumps(["echo", CANARY], separators=(",", ":")), "")


# --- TLS --------------------------------------------------------------------------------

REMOTE = [
    "postgresql://192.0.2.1/files",
    "postgresql://db.example/files?sslmode=require",
    "postgresql://db.example/files?sslmode=verify-ca",
    "postgresql:///files?host=db.example",
    "postgresql:///files?hostaddr=192.0.2.1",
    "postgresql://localhost/files?hostaddr=192.0.2.1",
    "postgresql://localhost,db.example/files",
    "postgresql://localhost:1,192.0.2.1:2/files",
    "postgresql://[2001:db8::1]/files",
    "postgresql://localhost.example/files",
    "postgresql:///files?service=far",
    "postgresql://localhost/files?service=far",
]
HERE = [
    "postgresql:///files",
    "postgresql://localhost/files",
    "postgresql://LOCALHOST/files",
    "postgresql://127.0.0.1/files",
    "postgresql://127.8.9.1:1,localhost/files",
    "postgresql://[::1]/files",
    "postgresql:///files?host=/run/postgresql",
    "postgresql://%2Frun%2Fpostgresql/files",
]


@pytest.mark.parametrize("url", REMOTE)
def test_a_server_elsewhere_needs_a_proof_of_who_it_is(url: str) -> None:
    verified = re.sub(r"[?&]sslmode=[\w-]+", "", url)
    verified += ("&" if "?" in verified else "?") + "sslmode=verify-full"

    with pytest.raises(InsecureServer, match="set sslmode to verify-full, and sslrootcert, or"):
        open_store(url)

    check(verified, ORDINARY)
    check(url, Connecting(insecure_tls=True))


@pytest.mark.parametrize("url", REMOTE)
@pytest.mark.parametrize("connecting", [connect, connect_to_store])
def test_nothing_connects_to_a_server_elsewhere_without_it(
    url: str, connecting: Callable[..., psycopg.Connection]
) -> None:
    with pytest.raises(InsecureServer):
        connecting(url, autocommit=True)


@pytest.mark.parametrize("url", HERE)
def test_a_server_here_needs_none(url: str) -> None:
    check(url, ORDINARY)


@pytest.mark.parametrize(
    "variables",
    [{"PGHOST": "db.example"}, {"PGHOSTADDR": "192.0.2.1"}, {"PGSERVICE": "far"}],
    ids=str,
)
def test_what_libpq_takes_from_the_environment_counts(
    here: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    (here / "services").write_text("[far]\nhost=db.example\n")
    monkeypatch.setenv("PGSERVICEFILE", str(here / "services"))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(InsecureServer):
        open_store("postgresql:///files")
    with pytest.raises(InsecureServer):
        open_store("postgresql://db.example/files")

    monkeypatch.setenv("PGSSLMODE", "verify-full")
    check("postgresql:///files", ORDINARY)
    with pytest.raises(InsecureServer):
        check("postgresql://db.example/files?sslmode=prefer", ORDINARY)


def test_split_fields_and_systems_names_are_held_to_it_too(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(**keys: object) -> None:
        path = write(here / "given.toml", backend="postgres", database="files", **keys)
        settings = config.read(config=path)
        open_at(settings.address(), settings=settings)

    with pytest.raises(InsecureServer, match=r"PostgreSQL at db\.example is not on this machine"):
        opened(host="db.example", sslmode="require")

    monkeypatch.setenv("STORAGE_TYPE", "postgres")
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGDATABASE", "files")
    with pytest.raises(InsecureServer):
        open_at(config.read().address())


def test_the_check_of_tls_is_lifted_by_a_word(
    here: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    parts = urlsplit(postgres_url)
    url = f"{postgres_url.replace(str(parts.hostname), 'db.example')}?hostaddr={parts.hostname}"
    with pytest.raises(InsecureServer):
        open_store(url, create=True)
    path = write(here / "given.toml", backend="postgres", database_url=url, insecure_tls=True)

    settings = config.read(config=path)
    with open_at(settings.address(), create=True, settings=settings) as store:
        assert store.log.heads()
        with pytest.raises(InsecureServer):
            open_store(url, settings=settings)  # another address than that of the file

    monkeypatch.setenv("REFOLD_INSECURE_TLS", "1")
    open_store(url).close()


@pytest.fixture(scope="module")
def with_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The url of a server with TLS, and its certificate, which is good for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    with throwaway() as cluster:
        certificate, key = (cluster.home / "data" / name for name in ("server.crt", "server.key"))
        make_certificate(certificate, key)
        if cluster.account.user is not None:
            for path in (certificate, key):
                os.chown(path, cluster.account.user, -1)
        (folder / "ca.crt").write_bytes(certificate.read_bytes())
        with psycopg.connect(cluster.url, autocommit=True) as server:
            if server.execute("SHOW ssl_library").fetchone() == ("",):
                pytest.skip("this PostgreSQL is built without TLS")
            server.execute("ALTER SYSTEM SET ssl = on")
        cluster.restart("fast")
        yield cluster.url, folder / "ca.crt"


GOOD_FOR = "subjectAltName=IP:127.0.0.1"


def make_certificate(certificate: Path, key: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=refold"
    subprocess.run(
        [*command.split(), "-addext", GOOD_FOR, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)


def test_the_certificate_of_the_server_is_verified(here: Path, with_tls: tuple[str, Path]) -> None:
    url, root = with_tls
    parts = urlsplit(url)
    make_certificate(here / "other.crt", here / "other.key")

    def opened(certificate: Path, **keys: object) -> None:
        path = write(
            here / "given.toml",
            backend="postgres",
            host=parts.hostname,
            port=parts.port,
            user=parts.username,
            password=parts.password,
            database=parts.path[1:],
            sslmode="verify-full",
            sslrootcert=str(certificate),
            **keys,
        )
        settings = config.read(config=path)
        with open_at(settings.address(), create=True, settings=settings) as store:
            store.folder.catch_up()
            with psycopg.connect(url) as server:
                sessions = server.execute(
                    "SELECT ssl FROM pg_stat_ssl NATURAL JOIN pg_stat_activity"
                    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
                ).fetchall()
        assert set(sessions) == {(True,)}

    opened(root)
    with pytest.raises(Unavailable, match="cannot be used: TLS failed"):
        opened(here / "other.crt")
    with pytest.raises(Unavailable, match="cannot be used: TLS failed"):
        opened(here / "none.crt")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"password": CANARY}, "authentication failed"),
        ({"password": ""}, "authentication failed"),
        ({"user": "nobody"}, "authentication failed"),
        ({"dbname": "nowhere"}, "there is no such database"),
        ({"dbname": f"x{CANARY}"}, "there is no such database"),
        ({"port": "1"}, "the connection was refused"),
        ({"sslmode": "require"}, "TLS failed"),
        ({"host": "/nowhere"}, "there is no socket of a server"),
        ({"host": "nowhere.invalid"}, "its host is not known"),
    ],
    ids=str,
)
def test_why_there_is_no_connection_is_told_without_a_secret(
    postgres_url: str, change: dict[str, str], why: str
) -> None:
    url = make_url(postgres_url)
    url = url.set(
        password=change.get("password", url.password),
        username=change.get("user", url.username),
        database=change.get("dbname", url.database),
        query={name: change[name] for name in change.keys() & {"host", "port", "sslmode"}},
    )
    place = parse(url.render_as_string(hide_password=False), {}, Connecting(insecure_tls=True))

    with pytest.raises(Unavailable) as refused:
        open_at(place)

    assert str(refused.value).endswith(f" cannot be used: {why}")
    assert change.get("dbname") or CANARY not in everything(refused.value)


def test_a_parameter_that_is_not_known_is_named() -> None:
    with pytest.raises(BadInput, match=r"has a parameter that is not known: foo$"):
        open_store("postgresql://localhost/files?schema=c1&foo=bar")
    with pytest.raises(BadInput, match=r"the PostgreSQL address cannot be read$"):
        open_store("postgresql://ada:1234?secret=x@localhost/files")


@pytest.mark.parametrize("schema", ["pg_x", "pg_catalog", "information_schema"])
def test_a_schema_of_postgresql_itself_is_refused(schema: str) -> None:
    with pytest.raises(BadInput, match="none of PostgreSQL's own"):
        parse(f"postgresql://localhost/files?schema={schema}")


# --- passwords --------------------------------------------------------------------------


class Role(NamedTuple):
    """A role of a database, and a program that prints its password and counts how often."""

    name: str
    url: str
    folder: Path
    server: psycopg.Connection[tuple[Any, ...]]

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-I", str(self.folder / "program.py")]

    @property
    def calls(self) -> int:
        return (self.folder / "calls").stat().st_size

    def set_password(self, password: str) -> None:
        statement = SQL("ALTER ROLE {} PASSWORD {}").format(
            Identifier(self.name), Literal(password)
        )
        self.server.execute(statement)
        (self.folder / "password").write_text(f"  {password}\n")

    def lock_out(self) -> None:
        """Let no password be right that was printed until now."""
        statement = SQL("ALTER ROLE {} PASSWORD NULL").format(Identifier(self.name))
        self.server.execute(statement)

    def keys(self) -> dict[str, object]:
        parts = urlsplit(self.url)
        return {
            "backend": "postgres",
            "host": parts.hostname,
            "port": parts.port,
            "user": self.name,
            "database": parts.path[1:],
        }


@pytest.fixture
def role(postgres_url: str, tmp_path: Path) -> Iterator[Role]:
    """A role that owns nothing but may make a schema, with a password of odd characters."""
    name = f"role {secrets.token_hex(4)}@x"
    parts = urlsplit(postgres_url)
    host = f"{parts.hostname}:{parts.port}"
    url = parts._replace(netloc=f"{quote(name)}@{host}").geturl()
    (tmp_path / "calls").touch()
    (tmp_path / "program.py").write_text(
        "from pathlib import Path\n"
        f"here = Path({str(tmp_path)!r})\n"
        "with (here / 'calls').open('a') as calls:\n    calls.write('.')\n"
        "print((here / 'password').read_text())\n"
    )
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute("SET password_encryption = 'scram-sha-256'")
        server.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
        server.execute(
            SQL("GRANT CREATE ON DATABASE {} TO {}").format(
                Identifier(parts.path[1:]), Identifier(name)
            )
        )
        made = Role(name, url, tmp_path, server)
        made.set_password(f"{CANARY} +%2B&/?#@:'\"\\é")
        yield made
        server.execute(SQL("DROP OWNED BY {} CASCADE").format(Identifier(name)))
        server.execute(SQL("DROP ROLE {}").format(Identifier(name)))


Way = Callable[[Role, pytest.MonkeyPatch, Path], Settings]


def _by_key(role: Role, _: pytest.MonkeyPatch, here: Path) -> Settings:
    password = (role.folder / "password").read_text().strip()
    return config.read(config=write(here / "given.toml", **role.keys(), password=password))


def _by_url(role: Role, _: pytest.MonkeyPatch, here: Path) -> Settings:
    password = quote((role.folder / "password").read_text().strip(), safe="")
    url = f"{role.url}?password={password}"
    keys = {"backend": "postgres", "database_url": url, "password_command": ["false"]}
    return config.read(config=write(here / "given.toml", **keys))


def _by_variable(role: Role, environment: pytest.MonkeyPatch, _: Path) -> Settings:
    environment.setenv("REFOLD_PASSWORD", (role.folder / "password").read_text().strip())
    return config.read(role.url)


def _by_command_in_a_list(role: Role, _: pytest.MonkeyPatch, here: Path) -> Settings:
    path = write(here / "given.toml", **role.keys(), password_command=role.command)
    return config.read(config=path)


def _by_command_in_a_string(role: Role, _: pytest.MonkeyPatch, here: Path) -> Settings:
    command = f"{role.command[0]} -I '{role.command[2]}'"
    path = write(here / "given.toml", **role.keys(), password_command=command)
    return config.read(config=path)


def _by_command_in_the_environment(
    role: Role, environment: pytest.MonkeyPatch, _: Path
) -> Settings:
    environment.setenv("REFOLD_PASSWORD_COMMAND", json.dumps(role.command))
    return config.read(role.url)


WAYS: list[Way] = [
    _by_key,
    _by_url,
    _by_variable,
    _by_command_in_a_list,
    _by_command_in_a_string,
    _by_command_in_the_environment,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_password_opens_a_real_server_however_it_is_given(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    role: Role,
    way: Way,
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = way(role, monkeypatch, here)

    with open_at(settings.address(), create=True, settings=settings) as store:
        store.folder.catch_up()
        shown = f"{store.address!r} {store.address.public} {settings!r}"

    assert (role.calls > 0) == ("command" in way.__name__)
    assert CANARY not in "".join([shown, *capfd.readouterr(), caplog.text])
    role.set_password("another")
    if "command" in way.__name__:
        open_at(settings.address(), settings=settings).close()
    else:
        with pytest.raises(Unavailable):
            open_at(settings.address(), settings=settings)


def test_the_password_is_asked_anew_for_each_connection(role: Role) -> None:
    settings = Settings(None, _storage(password_command=role.command), Media(), None)
    with open_store(role.url, create=True, settings=settings) as store:
        store.folder.catch_up()
        before = role.calls
        role.set_password("rotated")
        role.server.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s",
            (role.name,),
        )

        assert store.log.heads()
        with store.tables.reading() as connection:
            assert connection.exec_driver_sql("SELECT 1").scalar() == 1
        with open_at(pickle.loads(pickle.dumps(store.address))) as in_a_worker:  # noqa: S301
            assert in_a_worker.log.heads()
    assert role.calls >= before + 4


FAILING = {
    "import sys; sys.exit(3)": "ended with exit code 3",
    "": "printed no password",
    "print(' ')": "printed no password",
    "import sys; sys.stdout.buffer.write(b'\\xff')": "printed something else than text",
    "print('\\0')": "printed no password",
    "import time; time.sleep(60)": "took longer than 1 s",
    "import os; os.kill(os.getpid(), 9)": "ended with exit code -9",
}


@pytest.mark.parametrize("program", FAILING)
def test_a_command_that_gives_no_password_is_named_and_nothing_it_says(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    program: str,
) -> None:
    caplog.set_level(logging.DEBUG)
    loud = f"import sys; print({CANARY!r}, file=sys.stderr, flush=True); "
    said = f"print({CANARY!r}, flush=True); " if "exit" in program or "kill" in program else ""
    command = [sys.executable, "-I", "-c", loud + said + program, CANARY]
    write(
        here / "refold.toml",
        backend="postgres",
        database="files",
        password_command=command,
        pool={"connect_seconds": 1},
    )

    with pytest.raises(NoPassword) as refused:
        open_at(config.read().address())

    monkeypatch.setattr(sys, "argv", ["refold", "status"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 4
    name = Path(sys.executable).name
    assert str(refused.value) == f"the password command {name} {FAILING[program]}"
    assert CANARY not in "".join([everything(refused.value), *capfd.readouterr(), caplog.text])


def test_a_command_that_is_not_there_is_named() -> None:
    settings = Settings(None, _storage(password_command=f"/none/such {CANARY}"), Media(), None)

    with pytest.raises(NoPassword) as refused:
        open_store("postgresql://localhost/files", settings=settings)

    assert str(refused.value) == (
        "the password command such cannot be run: No such file or directory"
    )
    assert CANARY not in everything(refused.value)


def test_a_command_is_run_without_a_shell(here: Path) -> None:
    settings = Settings(None, _storage(password_command="echo $HOME; touch made"), Media(), None)

    with pytest.raises(Failure):
        open_store("postgresql://localhost:1/files", settings=settings)

    assert not (here / "made").exists()


def test_a_command_that_fails_later_fills_no_log_with_what_it_says(
    role: Role,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "psycopg.pool")  # the eventsourcing library silences it
    monkeypatch.setattr(logging.getLogger("psycopg.pool"), "disabled", False)
    storage = _storage(
        password_command=role.command, pool={"connect_seconds": 1, "silent_seconds": 1.5}
    )
    with open_store(
        role.url, create=True, settings=Settings(None, storage, Media(), None)
    ) as store:
        (role.folder / "password").write_text(f"wrong {CANARY}")
        role.lock_out()
        for _ in range(20):  # also those sessions that were just being made
            role.server.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = %s",
                (role.name,),
            )
            time.sleep(0.02)
        with pytest.raises(Unavailable) as refused:
            store.log.heads()

    assert "error connecting" in caplog.text
    assert CANARY not in "".join([everything(refused.value), *capfd.readouterr(), caplog.text])


# --- pool -------------------------------------------------------------------------------


def pooled(**pool: object) -> Settings:
    return Settings(None, _storage(pool=pool), Media(), None)


@pytest.fixture
def sessions(postgres_url: str) -> Iterator[Callable[[], int]]:
    """How many others are connected to the database."""
    count = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(postgres_url, autocommit=True) as server:
        yield lambda: int((server.execute(count).fetchone() or [0])[0])


def settled(sessions: Callable[[], int], number: int) -> int:
    """Wait until there are `number` sessions, and return how many there are: ends take a moment."""
    deadline = time.monotonic() + 10
    while sessions() != number and time.monotonic() < deadline:
        time.sleep(0.05)
    return sessions()


def test_the_log_keeps_as_many_connections_as_it_is_told(
    postgres_url: str, sessions: Callable[[], int]
) -> None:
    with open_store(postgres_url, create=True, settings=pooled(min_size=4, max_size=4)):
        assert settled(sessions, 4 + 1) == 4 + 1  # the tables have one


@pytest.mark.parametrize("part", ["log", "tables"])
def test_no_more_connections_are_made_than_allowed(
    postgres_url: str, sessions: Callable[[], int], part: str
) -> None:
    with open_store(postgres_url, create=True, settings=pooled(min_size=2, max_size=2)) as store:

        def use(_: int) -> None:
            if part == "log":
                store.log._patiently(lambda c: c.execute("SELECT pg_sleep(0.4)"))  # type: ignore[attr-defined]
            else:
                with store.tables.reading() as connection:
                    connection.exec_driver_sql("SELECT pg_sleep(0.4)")

        most = settled(sessions, 2 + 1)
        with ThreadPoolExecutor(6) as threads:
            done = [threads.submit(use, number) for number in range(6)]
            while not all(each.done() for each in done):
                most = max(most, sessions())
                time.sleep(0.05)
        assert [each.result() for each in done] == [None] * 6
    assert most == 2 + (1 if part == "log" else 2)


def test_tables_that_are_all_in_use_are_unavailable_after_the_silence(postgres_url: str) -> None:
    settings = pooled(max_size=1, silent_seconds=0.3)
    with (
        open_store(postgres_url, create=True, settings=settings) as store,
        store.tables.reading(),
        pytest.raises(Unavailable),
        store.tables.reading(),
    ):
        pass


def test_a_store_stays_silent_for_as_long_as_it_is_told(postgres_url: str, postgres: str) -> None:
    settings = pooled(connect_seconds=1, silent_seconds=0.5)
    database = Identifier(urlsplit(postgres_url).path[1:])
    with (
        open_store(postgres_url, create=True, settings=settings) as store,
        psycopg.connect(postgres, autocommit=True) as server,
    ):
        server.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(database))
        server.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s",
            (database.as_string().strip('"'),),
        )
        began = time.monotonic()
        with pytest.raises(Unavailable):
            store.log.heads()
        took = time.monotonic() - began
        server.execute(SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(database))

    assert took < 6  # 20 s unless told


def test_a_server_that_says_nothing_is_waited_for_as_long_as_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()

        with pytest.raises(Unavailable, match="it timed out"):
            open_store(
                f"postgresql://127.0.0.1:{silent.getsockname()[1]}/files",
                settings=pooled(connect_seconds=2),
            )

    assert 1.5 < time.monotonic() - began < 6  # 10 s unless told


# --- large contents ---------------------------------------------------------------------


def test_large_contents_are_where_the_file_says_or_the_environment(
    here: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: str
) -> None:
    path = write(
        here / "given.toml",
        backend="postgres",
        database_url=postgres_url,
        media={"provider": "disk", "folder": "in-file"},
    )

    def put() -> None:
        settings = config.read(config=path)
        with open_at(settings.address(), create=True, settings=settings) as store:
            store.blobs.put([b"hello"])

    put()
    monkeypatch.setenv("REFOLD_BLOBS", "in-environment")
    put()

    for folder in ("in-file", "in-environment"):
        assert [each.name for each in (here / folder).rglob(SHA)] == [SHA]
    monkeypatch.delenv("REFOLD_BLOBS")
    with open_store(postgres_url) as store, pytest.raises(NoPlaceForBlobs):
        _ = store.blobs


def test_a_sqlite_store_has_its_own_folder_unless_another_is_named(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REFOLD_MEDIA_PROVIDER", "disk")
    with open_store("sqlite:///files.db", create=True) as store:
        store.blobs.put([b"hello"])

    assert [each.name for each in (here / "files.db-blobs").rglob(SHA)] == [SHA]


def test_large_contents_are_in_the_bucket_that_is_named(here: Path, s3: S3Server) -> None:
    place = s3.place()
    path = write(
        here / "given.toml",
        backend="sqlite",
        database_path="files.db",
        media={
            "provider": "s3",
            "bucket": place.bucket,
            "region": place.region,
            "endpoint": place.endpoint,
            "path_style": True,
            "prefix": "configured/",
            "access_key": s3.access_key,
            "secret_key": s3.secret_key,
            "presign_seconds": 77,
        },
    )

    settings = config.read(config=path)
    with open_at(settings.address(), create=True, settings=settings) as store:
        store.blobs.put([b"hello"])
        assert isinstance(store.blobs, S3Blobs)
        presigned = store.blobs.presigned_get(SHA)

    assert b"".join(S3Blobs(s3.place("configured/")).get(SHA)) == b"hello"
    assert "X-Amz-Expires=77&" in presigned
    assert s3.secret_key not in f"{settings!r} {store!r}"
    assert not (here / "files.db-blobs").exists()


def test_the_vault_key_comes_with_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFOLD_VAULT_KEY", CANARY)

    settings = config.read("memory:")

    assert settings.vault_key == SecretStr(CANARY)
    assert parse("memory:") == settings.address()


@pytest.mark.parametrize("url", ["memory:", "sqlite:///files.db"])
def test_what_is_to_be_postgresql_is_not_another_store_instead(
    here: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    path = write(here / "given.toml", backend="postgres", database_url=url)
    with pytest.raises(BadInput, match="starts with postgresql://"):
        config.read(config=path)

    monkeypatch.setenv("GIT_PROXY_POSTGRES_CONNECTION_STRING", url)
    with pytest.raises(BadInput, match="starts with postgresql://"):
        config.read()


@pytest.mark.parametrize("end", ["files#x", "files/x", "x@localhost/files"])
def test_a_special_character_in_an_address_has_to_be_encoded(end: str) -> None:
    with pytest.raises(BadInput, match="special characters in % encoding"):
        parse(f"postgresql://localhost/{end}")


def _storage(**keys: Any) -> Storage:
    """The table as a file or the environment has it: texts, lists and numbers."""
    return Storage(**keys)
