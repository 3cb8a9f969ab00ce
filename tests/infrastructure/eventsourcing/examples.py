"""Three of the eventsourcing library's documented examples, in words of our own.

A school for dogs, accounts with transfers that save two aggregates at once, and a system where a
process application counts the tricks of the school.
"""

from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError, Application, ProcessingEvent
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, DomainEventProtocol, event
from eventsourcing.system import ProcessApplication, System

# --- a school for dogs ------------------------------------------------------------------


class Dog(Aggregate):
    """A dog and its tricks."""

    @event("Registered")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        """Learn a trick."""
        self.tricks.append(trick)


class DogSchool(Application[UUID]):
    """Registers dogs and teaches them; snapshots every second version."""

    is_snapshotting_enabled = True
    snapshotting_intervals = {Dog: 2}  # noqa: RUF012 - as the library wants it

    def register(self, name: str) -> UUID:
        """Register a dog and return its id."""
        dog = Dog(name)
        self.save(dog)
        return dog.id

    def teach(self, id: UUID, trick: str) -> None:
        """Teach a dog a trick."""
        dog: Dog = self.repository.get(id)
        dog.add_trick(trick)
        self.save(dog)

    def tricks(self, id: UUID) -> list[str]:
        """Return the tricks of a dog."""
        dog: Dog = self.repository.get(id)
        return dog.tricks


# --- accounts ---------------------------------------------------------------------------


class TooLittle(Exception):
    """An account has less than what is to be taken from it."""


class Account(Aggregate):
    """An account and its balance."""

    @event("Opened")
    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.balance = Decimal(0)

    def change(self, amount: Decimal) -> None:
        """Put an amount in, or take it out. Raises `TooLittle`."""
        if self.balance + amount < 0:
            raise TooLittle
        self._change(amount)

    @event("Changed")
    def _change(self, amount: Decimal) -> None:
        self.balance += amount


class Accounts(Application[UUID]):
    """Keeps accounts; a transfer changes two of them or none."""

    def open(self, owner: str) -> UUID:
        """Open an account and return its id."""
        account = Account(owner)
        self.save(account)
        return account.id

    def deposit(self, id: UUID, amount: str) -> None:
        """Put an amount into an account."""
        account: Account = self.repository.get(id)
        account.change(Decimal(amount))
        self.save(account)

    def transfer(self, debit: UUID, credit: UUID, amount: str) -> None:
        """Take an amount from one account and put it into another."""
        one: Account = self.repository.get(debit)
        other: Account = self.repository.get(credit)
        one.change(-Decimal(amount))
        other.change(Decimal(amount))
        self.save(one, other)

    def balance(self, id: UUID) -> Decimal:
        """Return the balance of an account."""
        account: Account = self.repository.get(id)
        return account.balance


# --- a system ---------------------------------------------------------------------------


class Counter(Aggregate):
    """How many dogs have learned a trick."""

    def __init__(self, trick: str) -> None:
        self.trick = trick
        self.count = 0

    @staticmethod
    def create_id(trick: str) -> UUID:
        """Return the id of a trick's counter."""
        return uuid5(NAMESPACE_URL, f"/tricks/{trick}")

    @event("Incremented")
    def increment(self) -> None:
        """Count one more."""
        self.count += 1


class Counters(ProcessApplication[UUID]):
    """Counts the tricks that dogs learn."""

    @singledispatchmethod
    def policy(
        self, domain_event: DomainEventProtocol[Any], processing_event: ProcessingEvent[Any]
    ) -> None:
        """Count a trick."""
        trick = getattr(domain_event, "trick", None)
        if trick is None:
            return
        try:
            counter: Counter = self.repository.get(Counter.create_id(trick))
        except AggregateNotFoundError:
            counter = Counter(trick)
        counter.increment()
        processing_event.collect_events(counter)

    def count(self, trick: str) -> int:
        """Return how many dogs have learned a trick."""
        counter: Counter = self.repository.get(Counter.create_id(trick))
        return counter.count


SYSTEM = System(pipes=[[DogSchool, Counters]])
