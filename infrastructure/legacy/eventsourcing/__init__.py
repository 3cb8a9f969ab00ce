"""The eventsourcing library's own tables."""
