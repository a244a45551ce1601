"""Pictures and sound of requests, from what a client wrote to bytes that a worker decodes.

A request may bring them as base64 or as the id of a stored file, and as an address if the operator
names its host. Nothing is decoded here but base64: the gateway looks at a file's first bytes, so
that what is no picture is refused before it waits for a worker, and at no pixel.
"""
