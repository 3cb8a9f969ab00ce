"""Which questions are answered: one module per query table, each a pure fold of the log."""
