-- All claims.
SELECT kind, value, stream FROM claims ORDER BY kind, value
