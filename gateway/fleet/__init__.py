"""Several models behind one gateway: which are there, which are loaded, and whose turn it is."""
