"""refold: an append-only log, query tables folded from it, and moves that are proven."""
