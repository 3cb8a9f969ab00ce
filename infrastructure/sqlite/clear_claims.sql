-- Lets go of all claims.
DELETE FROM claims
