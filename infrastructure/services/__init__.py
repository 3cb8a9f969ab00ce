"""A store as services use it, one module a thing: documents, listings, searches, contents."""
