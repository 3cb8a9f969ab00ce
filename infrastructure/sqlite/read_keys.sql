-- Keys of sealed fields. Parameter: subjects (a JSON array), null for all.
SELECT subject, key, erased_at FROM keys WHERE ?1 IS NULL
UNION ALL
SELECT subject, key, erased_at FROM keys WHERE subject IN (SELECT value FROM json_each(?1))
ORDER BY subject
