-- Appends one event behind the head. Parameters: partition, position, recorded_at, and a row of
-- an exact batch.
INSERT OR ROLLBACK INTO events (place, recorded_at, stream, version, type, schema, data,
    metadata, command_id, command_no)
VALUES (? << 48 | ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
