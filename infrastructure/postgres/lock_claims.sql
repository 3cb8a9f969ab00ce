-- Takes the lock of the claims and keys of a store with several partitions, to the end of the
-- transaction. It is named after the table of the store's ids.
SELECT pg_advisory_xact_lock(tableoid::bigint) FROM refold.store
