"""Does memory grow with the requests served? Needs Linux: sizes are read from /proc."""
