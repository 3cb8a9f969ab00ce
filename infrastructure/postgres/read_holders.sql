-- Who holds the claims that are held. Parameters: kinds (text[]), values (text[]).
SELECT c.kind, c.value, c.stream
FROM unnest(%b::text[], %b::text[]) AS k (kind, value) JOIN refold.claims c USING (kind, value)
