-- The guard of a log whose indexes come last: until then, nothing else of an event is unique.
CREATE TRIGGER events_are_not_replaced_by_place BEFORE INSERT ON events
WHEN (NEW.place & 281474976710655 <> 1
        AND NOT EXISTS (SELECT 1 FROM events WHERE place = NEW.place - 1))
    OR EXISTS (
        SELECT 1 FROM events WHERE place >= NEW.place AND place < ((NEW.place >> 48) + 1) << 48)
BEGIN
    SELECT raise(ROLLBACK, 'the log is append-only');
END;
