"""``forge tune``: which shape serves this model best on this machine, by measuring."""
