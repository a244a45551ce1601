"""Captures: requests that are kept with their answers, for debugging, where an operator allows it.

::

    intercepting   the ASGI layer: which requests are captured; the bytes in both directions
    recording      what is kept of a request while it runs, within bounds
    keeper         the recordings that have ended, on their way into the store
    making         a recording becomes a row: decoded, redacted, cut, with what is told of it
    redaction      patterns, on all texts of a body, those in pieces included
    pieces         an answer as JSON values, and the texts in them
    comparing      two answers: are they the same, and if not, why
    assembly       all of these, for a server with a store
"""
