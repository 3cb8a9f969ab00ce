"""A request: the fields of a command, the stream it writes to, and what the domain makes of it."""

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from refold.domain.ports import Valued
from refold.infrastructure.store import Store


@dataclass(frozen=True, slots=True)
class Situation:
    """What a request decides from: the events of its own stream, and the store around them.

    `first` carries out another request before this one, under a command id of its own.
    """

    store: Store
    events: Sequence[Valued]
    command_id: str
    first: "Callable[[Request, str], object]"


class Request(Protocol):
    """A command's fields, the stream it is about, and what the domain makes of it."""

    def stream(self) -> str:
        """Return the stream that the command writes to, unless a claim leads elsewhere."""
        ...

    def found_by(self) -> tuple[str, str] | None:
        """Return kind and value of the claim whose holder, if any, is written to instead."""
        ...

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:
        """Return kind and value of each claim that a stream with those events holds."""
        ...

    def decide(self, now: Situation) -> Sequence[object]:
        """Return the new values for the stream, or raise `Refused`.

        Raises `Conflict` when what was carried out `first` is undone already: decide again.
        """
        ...


class Fields(BaseModel):
    """The fields of a command: all of them known, none converted."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    def found_by(self) -> tuple[str, str] | None:
        return None

    def claims(self, values: Sequence[object]) -> Set[tuple[str, str]]:  # noqa: ARG002 - none
        return frozenset()
