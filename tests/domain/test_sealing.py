"""Which fields of an event are sealed, and which subjects are forgotten with it."""

from dataclasses import dataclass, field

from refold.domain.sealing import FORGOTTEN, PERSONAL, SECRET, Text, forgotten, marks


@dataclass(frozen=True, slots=True)
class Joined:
    subject: str
    password: Text = field(metadata=SECRET)
    name: Text = field(metadata=PERSONAL)
    colour: str = "red"


@dataclass(frozen=True, slots=True)
class Left:
    subject: str = field(metadata=FORGOTTEN)
    guest: str = field(metadata=FORGOTTEN)
    reason: str = ""


def test_an_event_tells_which_of_its_fields_are_sealed() -> None:
    assert marks(Joined) == {"password": "secret", "name": "personal"}
    assert marks(Left) == {}


def test_an_event_tells_which_subjects_are_forgotten_with_it() -> None:
    assert forgotten(Left("ada", guest="bo", reason="moved")) == ["ada", "bo"]
    assert forgotten(Joined("ada", "secret", "Ada")) == []
