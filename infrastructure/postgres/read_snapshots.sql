-- Snapshots of a stream, newest first. Parameters: stream, after and until which version, limit.
SELECT stream, version, type, data FROM refold.snapshots
WHERE stream = %b AND version > %b AND version <= %b ORDER BY version DESC LIMIT %b
