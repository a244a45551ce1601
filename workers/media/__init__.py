"""Pictures and sound: from the files that clients sent to rows that the model reads.

A process of its own, a child of the worker, decodes and encodes one medium at a time with libmtmd
(:mod:`workers.media.process`), beside the engine's steps; what breaks it costs one request.
"""
