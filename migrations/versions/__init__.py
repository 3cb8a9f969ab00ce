"""One module for each version of the log's schema."""
