-- Removes all trackings of a store that is filled.
DELETE FROM trackings
