"""Does the order hold, and what does it cost? ``python -m bench.scheduler [--quick]``.

Two experiments. A discrete-event simulation runs the real dispatcher and its heap in virtual time
against first-come-first-served, strict priority and the study project's aging loop. And a
stopwatch is held to the heap's push and pop, beside the study project's loop, with up to a
million waiting jobs.
"""
