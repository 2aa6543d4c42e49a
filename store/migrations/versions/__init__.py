"""The revisions, one module each, in a single line."""
