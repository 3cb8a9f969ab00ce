"""Finds out whether a store is as it should be, and why."""
