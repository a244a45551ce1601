"""Measure a worker on a node against a local one: ``python -m bench.nodes``."""
