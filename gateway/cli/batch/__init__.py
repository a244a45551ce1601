"""``forge batch``: the requests of a file, run by a server, with their results in another file.

Nothing of it needs the server's own batches: each line is a request like any other, at batch
priority, so any server with OpenAI's API will do. The file of results is the only state. A run
that ended in whatever way is continued by the same command: lines that have a result are left out.
"""
