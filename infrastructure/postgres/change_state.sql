-- Puts all partitions into a state, behind the appends that are under way. Parameters: state, successor.
UPDATE refold.heads SET state = %b, successor = %b
