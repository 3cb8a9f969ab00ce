-- Appends one event behind the head. Parameters: the fields of Recorded, in order.
INSERT OR ROLLBACK INTO events (place, stream, version, type, schema, data, metadata,
    recorded_at, command_id, command_no)
VALUES (? << 48 | ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
