"""``forge doctor``: its checks one by one, and as a command on machines that lack something."""
