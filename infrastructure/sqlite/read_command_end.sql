-- The last event of the command that starts at a position. Parameters: partition, position.
SELECT partition, position, stream, version FROM events
WHERE place < coalesce(
    (SELECT place FROM events
     WHERE place > (?1 << 48) + ?2 AND place < (?1 + 1) << 48 AND command_no = 0
     ORDER BY place LIMIT 1),
    (?1 + 1) << 48)
ORDER BY place DESC LIMIT 1
