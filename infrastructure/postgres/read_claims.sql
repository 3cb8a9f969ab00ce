-- All claims.
SELECT kind, value, stream FROM refold.claims ORDER BY kind, value
