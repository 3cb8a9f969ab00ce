-- Lets go of a claim. Parameters: kind, value, stream.
DELETE FROM claims WHERE kind = ? AND value = ? AND stream = ?
