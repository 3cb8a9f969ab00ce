"""What may happen: aggregates as pure functions, their events, the ports and the errors."""
