-- The ids of the store.
SELECT store_id, log_id FROM store
