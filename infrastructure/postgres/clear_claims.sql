-- Lets go of all claims.
DELETE FROM refold.claims
