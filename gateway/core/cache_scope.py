"""The requests that may use what was computed for one another's prompts. Pure.

What a prompt spares tells its client that another prompt began like it. So prompts are shared
within a scope alone: in the cache of a worker, by the placement, and in what is kept for later.
"""

from hashlib import blake2b

from gateway.core.api_key import ApiKey


def cache_scope(key: ApiKey, salt: str = "") -> str:
    """Return the name of the scope of a key's requests; "" without keys and without a salt.

    A key has a scope of its own, and so have the keys of one ``cache_group`` together; ``salt``
    divides it further. Only the salt is the client's choice, and each part goes in with its
    length: no salt makes another key's scope.
    """
    if key.cache_group is not None:
        owner = (b"group", key.cache_group.encode())
    elif key.digest:
        owner = (b"key", key.digest)
    elif salt:
        owner = (b"anyone", b"")
    else:
        return ""
    hash_ = blake2b(digest_size=16, person=b"forge cache")
    for part in (*owner, salt.encode()):
        hash_.update(len(part).to_bytes(8) + part)
    return hash_.hexdigest()
