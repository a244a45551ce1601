"""The client of a request, as far as it matters for how long a model stays loaded."""

from hashlib import blake2b

from starlette.requests import Request

from gateway.api.local import FORWARDED
from gateway.core.api_key import ANYONE, ApiKey

TELLS_APART = ("user-agent", "origin", *FORWARDED)
"""Headers by which programs of one address, and pages of one browser, differ."""


def client_of(request: Request) -> str:
    """Return the name of a request's client: its key's or, without keys, one made of what it shows.

    That is its address and its program, so that one which is started anew (`ollama stop` after
    `ollama run`) is the same client, and another program on the same machine is another one. A
    program that pretends to be another gains no more than the end of that one's keep_alive.
    """
    key: ApiKey = request.state.key
    if key is not ANYONE:
        return key.name
    hash_ = blake2b(digest_size=16, person=b"forge client")
    host = "" if request.client is None else request.client.host
    for part in (host, *(request.headers.get(name, "") for name in TELLS_APART)):
        data = part.encode("utf-8", "surrogatepass")
        hash_.update(len(data).to_bytes(8) + data)
    return hash_.hexdigest()
