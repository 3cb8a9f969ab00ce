-- Keys of sealed fields. Parameter: subjects (text[]), twice; null for all.
SELECT subject, key, erased_at FROM refold.keys
WHERE %b::text[] IS NULL OR subject = ANY (%b::text[]) ORDER BY subject
