"""How far long work is, for whoever shows it."""

from collections.abc import Callable

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, of how much; None where nobody knows."""


def quietly(what: str, done: int, total: int | None) -> None:
    """Tell nobody."""
