"""Errors keep their message and their facts on the way from one process to another."""

import pickle

import pytest

from refold.domain.errors import BrokenLog, Claimed, Failure, Moved, Unavailable, UnknownType


@pytest.mark.parametrize(
    "failure",
    [
        BrokenLog(0, 1, 1_000, "events are missing"),
        Claimed("user name", "user-ada"),
        Moved("sqlite:///there.db"),
        Unavailable("the server is silent"),
        UnknownType(7, "file.unheard_of", 2),
    ],
    ids=lambda failure: type(failure).__name__,
)
def test_another_process_gets_the_same_error(failure: Failure) -> None:
    again = pickle.loads(pickle.dumps(failure))  # noqa: S301 - made one line above

    assert type(again) is type(failure)
    assert str(again) == str(failure)
    assert vars(again) == vars(failure)
