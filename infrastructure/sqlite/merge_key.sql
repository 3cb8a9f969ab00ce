-- Keeps a key unless its subject has one; an erased one wins. Parameters: subject, key, erased_at.
INSERT INTO keys (subject, key, erased_at) VALUES (?, ?, ?)
ON CONFLICT (subject) DO UPDATE SET key = NULL, erased_at = excluded.erased_at
WHERE excluded.key IS NULL AND keys.key IS NOT NULL
