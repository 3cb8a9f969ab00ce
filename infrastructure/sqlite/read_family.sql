-- The events of all streams of a family; '0' is what follows '/'. Parameter: family.
SELECT partition, position, stream, version, type, schema, data, metadata, recorded_at,
    command_id, command_no
FROM events WHERE stream = ?1 OR (stream >= ?1 || '/' AND stream < ?1 || '0')
ORDER BY position
