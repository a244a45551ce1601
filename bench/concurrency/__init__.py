"""The seeds' argument in four experiments: threads, event loop, processes, order of work."""
