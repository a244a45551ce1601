"""The patience of llama.cpp's threads at a barrier. Imported before llama.cpp is.

A step has some hundred barriers. By default a thread of GNU OpenMP spins some milliseconds before
it sleeps, and if another program has the core of the thread that it waits for, it spins away the
time that this one needs. On two cores that others used too, a step of the embedded model took 1,300
ms instead of 0.6, one of a 135M model 5,200 instead of 7; with SPINS it takes 12 and 49. On quiet
cores that costs 2 to 5 % of a single stream's speed, on virtual cores of a busy host up to a third.
It is the number that the library takes by itself where a program has more threads than cores.
"""

import os

SPINS = "1000"


def spin_briefly() -> None:
    """Set what GNU OpenMP reads when it is loaded, unless the environment says something."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS


spin_briefly()
