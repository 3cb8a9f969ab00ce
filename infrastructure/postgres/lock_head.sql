-- Takes the lock of a partition. Parameter: partition (int).
SELECT state, successor FROM refold.heads WHERE partition = %b FOR NO KEY UPDATE
