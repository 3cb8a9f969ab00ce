-- Puts all partitions into a state. Parameters: state, successor.
UPDATE heads SET state = ?, successor = ?
