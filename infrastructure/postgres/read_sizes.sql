-- The positions and bytes of a partition's events. Parameters: partition (int), positions.
SELECT position, octet_length(data) + octet_length(metadata)
FROM refold.events WHERE partition = %b AND position > %b AND position <= %b ORDER BY position
