"""One batch of chunks, counted exactly once in one transaction."""
