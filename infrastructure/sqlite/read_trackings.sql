-- Trackings as they stand. Parameter: applications (a JSON array), null for all.
SELECT application, position, command_id FROM trackings
WHERE ?1 IS NULL OR application IN (SELECT value FROM json_each(?1)) ORDER BY application
