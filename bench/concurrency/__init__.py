"""The study project's argument in four experiments: threads, event loop, processes, order."""
