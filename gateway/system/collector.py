"""The garbage collector, and when it had better rest."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Import without collections.

    All of it stays: of 118,000 objects of the server's modules 785 were waste, and to find that out
    again and again was a tenth of its start.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def at_start() -> Iterator[None]:
    """Import, in a process that has just begun, what no later collection has to look at either."""
    with paused():
        yield
        gc.freeze()
