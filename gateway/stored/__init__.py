"""Everything that survives a restart: files, batches, stored responses.

:class:`gateway.stored.store.Store` has all of it. Its modules bring SQLAlchemy, which takes a
while to import, so nothing here is imported before a store is asked for.
"""
