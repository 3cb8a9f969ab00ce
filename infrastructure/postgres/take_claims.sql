-- Keeps claims. Parameters: kinds, values, streams (text[] each).
INSERT INTO refold.claims SELECT * FROM unnest(%b::text[], %b::text[], %b::text[])
