"""The spans of requests."""
