"""Find where one gateway ends: ``python -m bench.scale [--quick]``.

The gateway's own dispatcher, queue, pool, placement, links and frames run in virtual time over
workers that compute nothing, 1 to 1,000 of them, while arrivals grow with their number. What the
gateway's code takes of a core is measured; how long requests wait, and how much of their prompts
is computed already, follow from the simulation.
"""
