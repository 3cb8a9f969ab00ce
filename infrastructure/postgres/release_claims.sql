-- Lets go of claims. Parameters: kinds, values, streams (text[] each).
DELETE FROM refold.claims c USING unnest(%b::text[], %b::text[], %b::text[]) AS k (kind, value, stream)
WHERE c.kind = k.kind AND c.value = k.value AND c.stream = k.stream
