"""The cost of answers that must be JSON of a schema."""
