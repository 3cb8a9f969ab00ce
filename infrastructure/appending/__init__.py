"""Appending, as far as it is the same in every backend: what becomes of each command of a batch."""
