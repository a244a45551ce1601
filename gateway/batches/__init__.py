"""Batches: thousands of requests in a file, computed while no other request wants the slots.

:class:`gateway.batches.runner.BatchRunner` is the one task that moves them on; all that must
survive a restart is in the store. Its modules bring SQLAlchemy, so nothing here is imported before
a store is asked for.
"""
