"""kill -9 at named steps of an erasure: asked for again, it is completed."""

import signal
from pathlib import Path
from typing import Any, Final

import pytest

from refold.infrastructure.commands import run
from refold.infrastructure.failpoints import VARIABLE
from refold.infrastructure.moving.verifying import verify
from refold.infrastructure.open import open_store
from refold.infrastructure.services.users import list_users
from refold.infrastructure.store import Store
from refold.projections import users
from refold.tests.addresses import own_url
from refold.tests.infrastructure.faults import forks
from refold.tests.infrastructure.faults.processes import refold

STEPS: Final = ("sessions ended", "key destroyed", "tables cleared")
LATER: Final = "2990-01-01T00:00:00Z"


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_an_erasure_that_is_killed_is_completed_by_another(
    request: pytest.FixtureRequest, tmp_path: Path, engine: str
) -> None:
    url = own_url(request, tmp_path, engine)
    with open_store(url, create=True) as store:
        for number, step in enumerate(STEPS):
            name = f"ada.{number}.lovelace"
            profile = {"username": name, "displayName": f"{name} at {step}"}
            do(store, "user.register", id=str(number), profile=profile)
            do(store, "session.set", sid=step, body="a body", expires_at=LATER, user=name)
        list(list_users(store))
        left = []

        for number, step in enumerate(STEPS):
            name = f"ada.{number}.lovelace"
            environment = {VARIABLE: f"erase: {step}"}
            arguments = ("erase", "user", name, "--store", url)
            with forks.forked(
                tmp_path, forks.refold, *arguments, environment=environment
            ) as process:
                assert process.ended() == -signal.SIGKILL, process.stderr
            left.append((has_key(store, str(number)), has_row(store, str(number))))
            again = refold("erase", "user", name, "--store", url, "--json")

            assert again.document["found"] == [], f"{step} {again.document}"
            assert again.code == 0
            assert again.document["again"] is (step != STEPS[0])
            assert (has_key(store, str(number)), has_row(store, str(number))) == (False, False)

        assert left == [(True, True), (False, True), (False, False)]
        assert {key.subject for key in store.log.keys() if key.wrapped} == {"~vault"}
        assert store.log.claims()[1] == []
        assert verify(store).ok


def do(store: Store, name: str, /, **fields: Any) -> None:
    run(store, name, fields, command_id=f"{name} {fields}"[:64], actor="service")


def has_key(store: Store, id: str) -> bool:
    return any(key.wrapped for key in store.log.keys([f"user-{id}"]))


def has_row(store: Store, id: str) -> bool:
    with store.tables.reading() as connection:
        live = store.tables.current(connection)[users.NAME]
        return bool(list(store.tables.rows.load(connection, live, [(id,)])))
