"""Documented examples of the eventsourcing library on a refold store, and on after a move."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from decimal import Decimal
from uuid import UUID

import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import OperationalError
from eventsourcing.system import SingleThreadedRunner

from refold.domain.positions import Positions
from refold.infrastructure import applications, config
from refold.infrastructure.address import Address, Sqlite
from refold.infrastructure.moving import verifying
from refold.infrastructure.moving.certificate import Certificate
from refold.infrastructure.moving.cutover import move
from refold.infrastructure.open import open_at
from refold.tests.infrastructure.eventsourcing.examples import (
    SYSTEM,
    Accounts,
    Counters,
    DogSchool,
    TooLittle,
)

Environment = dict[str, str]
New = Callable[[str], Environment]

OTHER = {"sqlite": "postgres", "postgres": "sqlite"}


@pytest.fixture(params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest, new_environment: New) -> tuple[Environment, Environment]:
    """An environment of one engine, and one of the other."""
    return new_environment(request.param), new_environment(OTHER[request.param])


def place(environment: Mapping[str, str], application: str) -> Address:
    below = config.of_environment().address(environment["REFOLD_STORE"])
    return applications.place(below, application)


def moved(here: Environment, there: Environment, application: str) -> Certificate:
    goal = place(there, application)
    if isinstance(goal, Sqlite):
        goal.path.parent.mkdir(exist_ok=True)
    with (
        open_at(place(here, application)) as source,
        open_at(goal, create=True) as target,
    ):
        certificate = move(source, target)
        assert verifying.verify(target).ok
    return certificate


def test_a_school_goes_on_after_its_store_was_moved(both: tuple[Environment, Environment]) -> None:
    here, there = both
    with DogSchool(here) as school:
        fido = school.register("Fido")
        for trick in ("sit", "roll", "fetch"):
            school.teach(fido, trick)
        assert school.snapshots
        assert len(list(school.snapshots.get(fido))) == 2

        certificate = moved(here, there, "dogschool")

        assert (certificate.equal, certificate.positions) == (True, Positions((4,)))
        with pytest.raises(OperationalError, match="this store has moved to"):
            school.teach(fido, "jump")
    with DogSchool(there) as school:
        school.teach(fido, "speak")
        assert school.tricks(fido) == ["sit", "roll", "fetch", "speak"]
        assert [each.id for each in school.notification_log.select(1, 10)] == [1, 2, 3, 4, 5]


def test_accounts_change_together_before_and_after_a_move(
    both: tuple[Environment, Environment],
) -> None:
    here, there = both
    with Accounts(here) as bank:
        ada, bob = bank.open("ada"), bank.open("bob")
        bank.deposit(ada, "100.10")
        bank.transfer(ada, bob, "40.05")

    certificate = moved(here, there, "accounts")

    assert certificate.equal
    with Accounts(there) as bank:
        with pytest.raises(TooLittle):
            bank.transfer(bob, ada, "50")
        bank.transfer(bob, ada, "0.05")
        assert (bank.balance(ada), bank.balance(bob)) == (Decimal("60.10"), Decimal("40.00"))
        with pytest.raises(AggregateNotFoundError):
            bank.balance(UUID(int=0))


def test_a_system_counts_each_trick_once_across_a_move(
    both: tuple[Environment, Environment],
) -> None:
    here, there = both
    with running(here) as (school, counters):
        fido, rex = school.register("Fido"), school.register("Rex")
        school.teach(fido, "sit")
        school.teach(rex, "sit")
        assert counters.count("sit") == 2
        assert counters.recorder.max_tracking_id("DogSchool") == 4

    proofs = [moved(here, there, name) for name in ("dogschool", "counters")]

    assert [each.equal for each in proofs] == [True, True]
    assert [each.document()["trackings"]["applications"] for each in proofs] == [0, 1]
    with running(there) as (school, counters):
        assert counters.recorder.max_tracking_id("DogSchool") == 4
        school.teach(rex, "roll")
        assert (counters.count("sit"), counters.count("roll")) == (2, 1)
        assert counters.recorder.max_tracking_id("DogSchool") == 5


def test_an_example_runs_in_memory(new_environment: New) -> None:
    with running(new_environment("memory")) as (school, counters):
        school.teach(school.register("Fido"), "sit")

        assert counters.count("sit") == 1


@contextmanager
def running(environment: Environment) -> Iterator[tuple[DogSchool, Counters]]:
    with SingleThreadedRunner[UUID](SYSTEM, env=environment) as runner:
        school, counters = runner.get(DogSchool), runner.get(Counters)
        with closing(school), closing(counters):
            yield school, counters
