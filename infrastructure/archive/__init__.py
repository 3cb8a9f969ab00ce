"""Archives: the log of a store in one file that outlives every engine."""
