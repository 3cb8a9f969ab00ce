-- Keeps keys unless their subjects have one; an erased one wins.
-- Parameters: subjects (text[]), keys (bytea[]), erased_at (bigint[]).
INSERT INTO refold.keys
SELECT DISTINCT ON (subject) subject, key, erased_at
FROM unnest(%b::text[], %b::bytea[], %b::bigint[])
    WITH ORDINALITY AS n (subject, key, erased_at, number)
ORDER BY subject, key IS NOT NULL, number
ON CONFLICT (subject) DO UPDATE SET key = NULL, erased_at = excluded.erased_at
WHERE excluded.key IS NULL AND keys.key IS NOT NULL
