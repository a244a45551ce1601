"""What it costs that an answer must be JSON of a schema."""
