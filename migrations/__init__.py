"""The schema of the event log, version by version. Query tables are never migrated: refold them."""
