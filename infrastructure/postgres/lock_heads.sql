-- Takes the locks of all partitions, behind the appends that are under way.
SELECT 1 FROM refold.heads ORDER BY partition FOR UPDATE
