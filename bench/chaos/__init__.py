"""Workers killed and stopped at random moments: does any client notice more than a pause?

Needs Linux: what a process leaves behind is read from /proc.
"""
