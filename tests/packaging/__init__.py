"""The distribution: what is in the wheel, how it is installed, what the docs call it."""
