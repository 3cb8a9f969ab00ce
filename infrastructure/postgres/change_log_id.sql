-- Takes over the id of another store's history. Parameter: log id.
UPDATE refold.store SET log_id = %b
