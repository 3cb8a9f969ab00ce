"""The log and the query tables in PostgreSQL."""
