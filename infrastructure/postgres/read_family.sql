-- The events of all streams of a family; '0' is what follows '/'. Parameter: family (text), thrice.
SELECT * FROM refold.events
WHERE stream = %b OR (stream >= %b || '/' AND stream < %b || '0')
ORDER BY position
