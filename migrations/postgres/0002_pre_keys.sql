-- The keys of sealed fields, wrapped by the vault's own; null once erased.

CREATE TABLE refold.keys (
    subject   text  COLLATE "C" PRIMARY KEY,
    key       bytea,
    erased_at bigint,
    CHECK ((key IS NULL) = (erased_at IS NOT NULL))
);
