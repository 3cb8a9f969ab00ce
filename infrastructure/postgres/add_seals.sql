-- Keeps seals unless one stands there. Parameters: partitions, positions, chains (arrays).
INSERT INTO refold.seals SELECT * FROM unnest(%b::int[], %b::bigint[], %b::bytea[])
ON CONFLICT DO NOTHING
