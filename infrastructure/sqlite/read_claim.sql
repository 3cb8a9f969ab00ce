-- Who holds a claim. Parameters: kind, value.
SELECT stream FROM claims WHERE kind = ? AND value = ?
