-- The head of every partition.
SELECT h.partition, coalesce(
        (SELECT position FROM refold.events e WHERE e.partition = h.partition
         ORDER BY position DESC LIMIT 1), 0),
    h.state, h.successor
FROM refold.heads h ORDER BY h.partition
