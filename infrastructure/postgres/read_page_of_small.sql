-- As read_page, without the data of events that have more bytes than are given, and without
-- metadata that have more. Parameters: bytes (int), twice; partition (int), positions.
SELECT partition, position, stream, version, type, schema,
    CASE WHEN octet_length(data) + octet_length(metadata) <= %b THEN data END,
    CASE WHEN octet_length(metadata) <= %b THEN metadata END,
    recorded_at, command_id, command_no
FROM refold.events WHERE partition = %b AND position > %b AND position <= %b ORDER BY position
