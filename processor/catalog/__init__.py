"""The catalog: loaded from YAML, linted, and put in force."""
