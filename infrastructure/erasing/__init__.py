"""Forgets a person on request: destroys keys, cleans up behind that, looks for what is left."""
