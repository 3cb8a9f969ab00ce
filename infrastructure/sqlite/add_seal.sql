-- Keeps a seal unless one stands there. Parameters: partition, position, chain.
INSERT INTO seals (partition, position, chain) VALUES (?, ?, ?) ON CONFLICT DO NOTHING
