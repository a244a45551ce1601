"""Many connections on one gateway process: what each takes, and what the others feel of it."""
