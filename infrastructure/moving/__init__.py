"""Copies and moves stores between engines, and proves it."""
