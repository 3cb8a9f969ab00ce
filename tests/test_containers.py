"""The Dockerfile and docker-compose.yml, as far as they can be tried without a container engine.

What goes into the image is built from just those files, and runs here with the commands and the
environment that docker-compose.yml gives it.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, get_args
from urllib.parse import urlsplit
from zipfile import ZipFile

import pytest
import yaml
from pydantic import BaseModel

from refold.domain.errors import BadInput
from refold.infrastructure import config
from refold.infrastructure.address import Postgres
from refold.infrastructure.blobs.contents import InBucket
from refold.infrastructure.open import open_at
from refold.infrastructure.postgres.binaries import find_binaries
from refold.tests.s3_server import S3Server
from refold.tests.test_packaging import CHECKOUT, SHIPPED, checkout_files

PATIENCE: Final = 60
INSTRUCTIONS: Final = {"FROM", "COPY", "RUN", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
KEYS: Final = {
    *("build", "image", "restart", "depends_on", "environment", "ports", "volumes"),
    *("healthcheck", "entrypoint", "command"),
}
OURS: Final = ("bucket", "init", "daemon")
BUILD: Final = ["wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", "wheels"]
REQUIRED: Final = re.compile(r"\$\{([A-Z_]+):\?([^$}]+)\}")
PINNED: Final = re.compile(r"[a-z0-9./-]+:(?!latest$)[A-Za-z0-9._-]+")

COMPOSE: Final[dict[str, Any]] = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())
SERVICES: Final[dict[str, dict[str, Any]]] = COMPOSE["services"]


class Instruction(NamedTuple):
    name: str
    words: list[str]


def dockerfile() -> list[Instruction]:
    """Read the Dockerfile: a comment or an instruction a line, `\\` before a line that goes on."""
    text = (CHECKOUT / "Dockerfile").read_text()
    lines = re.sub(r"(?m)^#.*\n", "", text).replace("\\\n", " ").splitlines()
    return [Instruction(words[0], words[1:]) for line in lines if (words := line.split())]


# --- docker-compose.yml -----------------------------------------------------------


def test_the_services_are_those_that_are_needed_and_say_nothing_odd() -> None:
    assert SERVICES.keys() == {"postgres", "s3", *OURS}
    assert {key for service in SERVICES.values() for key in service} <= KEYS
    assert COMPOSE.keys() == {"name", "x-refold", "services", "volumes"}


def test_every_image_has_a_tag_and_ours_is_built_here() -> None:
    images = {name: service["image"] for name, service in SERVICES.items()}

    assert [image for image in images.values() if not PINNED.fullmatch(image)] == []
    assert images["postgres"] == "postgres:16"
    assert images["s3"].startswith("ghcr.io/versity/versitygw:")
    assert {SERVICES[name].get("build") for name in OURS} == {"."}


def test_every_port_is_published_on_loopback_alone() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert len(ports) == 2
    assert [port for port in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port)] == []


def test_what_is_kept_is_in_named_volumes() -> None:
    mounted = [
        volume.split(":") for each in SERVICES.values() for volume in each.get("volumes", ())
    ]

    assert sorted(name for name, _ in mounted) == sorted(COMPOSE["volumes"])
    assert dict(mounted)["s3"] == SERVICES["s3"]["command"][-1]
    assert all(path.startswith("/") for _, path in mounted)


def test_nobody_starts_before_what_they_need() -> None:
    awaited = {
        name: {other: needed["condition"] for other, needed in service["depends_on"].items()}
        for name, service in SERVICES.items()
        if "depends_on" in service
    }

    assert awaited == {
        "bucket": {"s3": "service_healthy"},
        "init": {"postgres": "service_healthy"},
        "daemon": {
            "postgres": "service_healthy",
            "s3": "service_healthy",
            "bucket": "service_completed_successfully",
            "init": "service_completed_successfully",
        },
    }
    lasting = {name for name, service in SERVICES.items() if service.get("restart")}
    assert lasting == {"postgres", "s3", "daemon"}
    assert {SERVICES[name]["restart"] for name in lasting} == {"unless-stopped"}
    assert {name for name, service in SERVICES.items() if "healthcheck" in service} == {
        "postgres",
        "s3",
    }


def test_every_secret_has_to_be_given() -> None:
    given = [
        (name, value)
        for service in SERVICES.values()
        for name, value in service.get("environment", {}).items()
    ]

    secret = {name for name, _ in given if re.search("PASSWORD|KEY", name)}

    assert len(secret) == 7
    assert {name for name, value in given if "$" in value} == secret
    assert all(REQUIRED.fullmatch(value) for name, value in given if name in secret)
    with pytest.raises(AssertionError, match="REFOLD_VAULT_KEY"):
        environment("daemon", {"REFOLD_PASSWORD": "p"})


def test_each_variable_is_one_that_the_configuration_knows() -> None:
    for name in OURS:
        assert SERVICES[name]["environment"].keys() <= set(variables())
    assert {"REFOLD_HOST", "REFOLD_SCHEMA", "REFOLD_POOL_MAX_SIZE"} <= set(variables())


def test_the_image_of_postgres_makes_the_database_that_ours_ask_for() -> None:
    theirs, ours = SERVICES["postgres"]["environment"], SERVICES["daemon"]["environment"]

    for name in ("USER", "PASSWORD"):
        assert theirs[f"POSTGRES_{name}"] == ours[f"REFOLD_{name}"]
    assert theirs["POSTGRES_DB"] == ours["REFOLD_DATABASE"]
    assert ours["REFOLD_HOST"] in SERVICES


def test_the_s3_takes_the_keys_the_region_and_the_port_that_ours_use() -> None:
    s3, ours = SERVICES["s3"], SERVICES["daemon"]["environment"]

    assert list(s3["environment"].values()) == [
        ours["REFOLD_MEDIA_ACCESS_KEY"],
        ours["REFOLD_MEDIA_SECRET_KEY"],
    ]
    options = dict(zip(s3["command"][:-2:2], s3["command"][1:-2:2], strict=True))
    endpoint = urlsplit(ours["REFOLD_MEDIA_ENDPOINT"])
    assert (endpoint.hostname, f":{endpoint.port}") == ("s3", options["--port"])
    assert options["--region"] == ours["REFOLD_MEDIA_REGION"]
    health = s3["healthcheck"]["test"][-1]
    assert health == f"http://127.0.0.1{options['--port']}{options['--health']}"


def variables(model: type[BaseModel] = config.Storage, prefix: str = "REFOLD") -> Iterator[str]:
    """Yield the names in the environment of all keys that the configuration has."""
    if prefix == "REFOLD":
        for name in config.Environment.model_fields:
            yield f"REFOLD_{name}".upper()
    for name, field in model.model_fields.items():
        key = f"{prefix}_{field.alias or name}".upper()
        tables = [
            each
            for each in (field.annotation, *get_args(field.annotation))
            if isinstance(each, type) and issubclass(each, BaseModel)
        ]
        if tables:
            yield from variables(tables[0], key)
        else:
            yield key


def environment(service: str, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a service, with `given` for what has to be given."""

    def taken(found: re.Match[str]) -> str:
        assert found[1] in given, f"{found[1]}: {found[2]}"
        return given[found[1]]

    return {
        name: REQUIRED.sub(taken, value) for name, value in SERVICES[service]["environment"].items()
    }


# --- the Dockerfile ---------------------------------------------------------------


def test_every_instruction_is_one_and_every_image_has_a_tag() -> None:
    found = dockerfile()

    assert {each.name for each in found} <= INSTRUCTIONS
    stages = [each.words for each in found if each.name == "FROM"]
    assert found[0].name == "FROM"
    assert [stage[1:] for stage in stages] == [["AS", "build"], []]
    assert {PINNED.fullmatch(stage[0]) is not None for stage in stages} == {True}
    assert len({stage[0] for stage in stages}) == 1  # an environment is copied between the two


def test_the_image_is_not_run_by_root_and_starts_the_daemon() -> None:
    found = dockerfile()
    last = {each.name: each.words for each in found}
    names = [each.name for each in found]

    assert last["USER"] == ["refold"]
    assert ["useradd", "--system", "--create-home", "refold"] in [each.words for each in found]
    assert max(n for n, name in enumerate(names) if name in ("RUN", "COPY")) < names.index("USER")
    assert json.loads(" ".join(last["ENTRYPOINT"])) == ["refold"]
    assert json.loads(" ".join(last["CMD"])) == SERVICES["daemon"]["command"]


def test_what_is_installed_has_the_versions_of_the_constraints() -> None:
    installs = re.findall(r"pip (?:\S+ )*?install[^&\n]*", (CHECKOUT / "Dockerfile").read_text())

    assert len(installs) == 2
    assert all("--constraint constraints.txt" in install for install in installs)


def test_the_build_is_sent_what_the_dockerfile_copies_and_no_more() -> None:
    lines = (CHECKOUT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]

    sent = [rule.removeprefix("!") for rule in rules if rule.startswith("!")]

    assert rules[0] == "*"
    assert sorted(sent) == sorted(copied())
    assert {rule for rule in rules[1:] if not rule.startswith("!")} == {
        "**/__pycache__",
        "**/*.db*",
    }


def copied() -> list[str]:
    """Return what the Dockerfile copies from the checkout."""
    copies = [each.words for each in dockerfile() if each.name == "COPY"]
    return [source for words in copies if "--from=build" not in words for source in words[:-1]]


# --- what runs in the image -------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as it is in the image: built from what the Dockerfile copies."""
    folder = tmp_path_factory.mktemp("image")
    for source in copied():
        assert (CHECKOUT / source).exists(), source
    for file in checkout_files():
        name = file.relative_to(CHECKOUT)
        if name.as_posix() in copied() or name.parts[0] in copied():
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
    built = subprocess.run(
        [sys.executable, "-m", "pip", *BUILD, "./source"],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    with ZipFile(next((folder / "wheels").glob("*.whl"))) as wheel:
        wheel.extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture
def settings(postgres_url: str, s3: S3Server) -> dict[str, str]:
    """The environment of our services, with the servers at hand for those of the containers."""
    place = urlsplit(postgres_url)
    assert place.hostname
    assert place.username
    given = {
        "REFOLD_PASSWORD": place.password or "",
        "REFOLD_VAULT_KEY": "5a" * 32,
        "REFOLD_MEDIA_ACCESS_KEY": s3.access_key,
        "REFOLD_MEDIA_SECRET_KEY": s3.secret_key,
    }
    here = {
        "REFOLD_HOST": place.hostname,
        "REFOLD_PORT": str(place.port),
        "REFOLD_USER": place.username,
        "REFOLD_DATABASE": place.path[1:],
        "REFOLD_MEDIA_ENDPOINT": s3.endpoint,
        "REFOLD_MEDIA_BUCKET": place.path[1:].replace("_", "-"),
    }
    environments = [environment(name, given) for name in OURS]
    assert environments == environments[:1] * len(OURS)
    return environments[0] | here


def test_the_image_holds_all_of_the_package(image: Path) -> None:
    shipped = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["tool"]["setuptools"]

    for package in shipped["packages"]:
        assert (image / package.replace(".", "/") / "__init__.py").is_file()
    sources = [file for file in checkout_files() if file.suffix in SHIPPED]
    names = {file.relative_to(CHECKOUT) for file in sources}
    assert {name for name in names if name.parts[0] != "tests"} == {
        file.relative_to(image / "refold")
        for file in (image / "refold").rglob("*")
        if file.suffix in SHIPPED
    }


def test_the_commands_start_the_daemon_which_stops_when_told_to(
    image: Path, settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("init", "init", "bucket", "bucket"):  # they come again with each start
        done = subprocess.run(
            words(name),
            env=around(image, settings),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stderr) == (0, "")

    with subprocess.Popen(
        words("daemon"), env=around(image, settings), cwd=tmp_path, stdout=subprocess.PIPE
    ) as daemon:
        assert daemon.stdout
        started = json.loads(daemon.stdout.readline())
        daemon.send_signal(signal.SIGTERM)
        rest, _ = daemon.communicate(timeout=PATIENCE)

    assert (daemon.returncode, started["event"]) == (0, "started")
    assert json.loads(rest.splitlines()[-1])["event"] == "stopped"
    for secret in ("REFOLD_PASSWORD", "REFOLD_MEDIA_SECRET_KEY", "REFOLD_VAULT_KEY"):
        assert settings[secret] not in json.dumps(started) + rest.decode()
    assert_whole(settings, monkeypatch)


def test_no_other_folder_than_that_of_the_image_is_run(image: Path) -> None:
    says = "import refold; print(refold.__file__)"

    place = subprocess.check_output(
        [sys.executable, "-c", says], env=around(image, {}), cwd=image.parent, text=True
    )

    assert Path(place.strip()) == image / "refold" / "__init__.py"


def test_ours_have_to_be_told_that_the_network_between_the_containers_is_safe(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settings["REFOLD_INSECURE_TLS"] == "true"
    take(monkeypatch, settings | {"REFOLD_HOST": "postgres", "REFOLD_INSECURE_TLS": ""})

    with pytest.raises(BadInput, match="postgres is not on this machine"):
        open_at(config.read().address(), create=True)


@pytest.mark.parametrize(("port", "code"), [(None, 0), ("1", 2)])
def test_the_health_check_tells_whether_the_database_answers(
    postgres_url: str, port: str | None, code: int
) -> None:
    check = SERVICES["postgres"]["healthcheck"]["test"]
    places = [binaries.directory for binaries in find_binaries()]
    path = os.pathsep.join(str(place) for place in places if (place / check[1]).is_file())
    assert path, "no PostgreSQL here has pg_isready"
    assert check[0] == "CMD"

    done = subprocess.run(
        [shutil.which(check[1], path=path) or "", *check[2:]],
        env={"PGPORT": port or str(urlsplit(postgres_url).port)},
        capture_output=True,
    )

    assert done.returncode == code


def words(service: str) -> Sequence[str]:
    """Return what a container of the service runs, by the Python at hand."""
    entrypoint = SERVICES[service].get("entrypoint", ["refold"])
    python = {
        "refold": [sys.executable, "-c", "from refold.scripts.cli import main; main()"],
        "python": [sys.executable],
    }
    return [*python[entrypoint[0]], *entrypoint[1:], *SERVICES[service]["command"]]


def around(image: Path, settings: Mapping[str, str]) -> dict[str, str]:
    """Return what a process of the image finds in its environment."""
    return {**settings, "PATH": os.defpath, "PYTHONPATH": str(image)}


def take(monkeypatch: pytest.MonkeyPatch, settings: Mapping[str, str]) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)


def assert_whole(settings: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Assert that the store is there, and that large contents go into the bucket."""
    take(monkeypatch, settings)
    found = config.read()
    place = found.address()
    assert isinstance(place, Postgres)
    with open_at(place, settings=found) as store:
        blob = store.blobs.put([b"large"])
        assert list(store.blobs.list()) == [blob]
        assert isinstance(store.blobs, InBucket)
        assert store.blobs.location(blob.sha256)[0] == settings["REFOLD_MEDIA_BUCKET"]
        assert store.vault.blind("e-mail", "ada@example.com")
