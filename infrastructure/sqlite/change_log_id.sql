-- Takes over the id of another store's history. Parameter: log id.
UPDATE store SET log_id = ?
