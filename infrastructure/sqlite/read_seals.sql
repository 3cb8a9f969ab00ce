-- The seals of a partition. Parameter: partition.
SELECT partition, position, chain FROM seals WHERE partition = ? ORDER BY position
