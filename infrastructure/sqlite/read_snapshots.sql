-- Snapshots of a stream, newest first. Parameters: stream, after and until which version, limit.
SELECT stream, version, type, data FROM snapshots
WHERE stream = ? AND version > ? AND version <= ? ORDER BY version DESC LIMIT ?
