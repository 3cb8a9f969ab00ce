-- The events of a partition behind a position, up to another. Parameters: partition (int), positions.
-- Positions are dense, so a page is a range: with LIMIT instead, a log that was never analyzed is
-- planned as if it were short, and all that is behind the position is read and sorted.
SELECT * FROM refold.events WHERE partition = %b AND position > %b AND position <= %b ORDER BY position
