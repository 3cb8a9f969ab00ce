"""The log and the query tables in SQLite files."""
