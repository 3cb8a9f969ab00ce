-- Keeps a snapshot. Parameters: stream, version, type, data.
INSERT INTO snapshots (stream, version, type, data) VALUES (?, ?, ?, ?)
