-- The events of a stream behind a version. Parameters: stream (text), version (bigint).
SELECT * FROM refold.events WHERE stream = %b AND version > %b ORDER BY version
