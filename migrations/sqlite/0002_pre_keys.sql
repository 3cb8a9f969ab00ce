-- The keys of sealed fields, wrapped by the vault's own; null once erased.

CREATE TABLE keys (
    subject   TEXT PRIMARY KEY,
    key       BLOB,
    erased_at INTEGER,
    CHECK ((key IS NULL) = (erased_at IS NOT NULL))
) STRICT, WITHOUT ROWID;
