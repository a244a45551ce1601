"""Workers killed and stopped at random moments: does any client notice more than a pause?

What the server promises has one limit: a request that was there at three deaths of workers, without
a token in between, runs alone once and fails if that worker dies too, unless others die without it.

Needs Linux: what a process leaves behind is read from /proc.
"""
