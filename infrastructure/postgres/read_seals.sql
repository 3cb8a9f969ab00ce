-- The seals of a partition. Parameter: partition (int).
SELECT partition, position, chain FROM refold.seals WHERE partition = %b ORDER BY position
