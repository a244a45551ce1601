"""The cost of captures."""
