"""The states of a line in the store: waiting -> taken (by a gateway) -> done or failed. Pure."""

WAITING, TAKEN, DONE, FAILED = "waiting", "taken", "done", "failed"
