-- Keeps a claim. Parameters: kind, value, stream.
INSERT INTO claims (kind, value, stream) VALUES (?, ?, ?)
