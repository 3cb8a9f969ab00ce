-- The versions of those streams that have events. Parameter: streams (a JSON array).
SELECT value, (SELECT max(version) FROM events WHERE stream = value) AS version
FROM json_each(?) WHERE version IS NOT NULL
