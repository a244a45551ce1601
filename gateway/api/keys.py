"""The endpoints of API keys: added, limited and revoked while the server runs."""

import contextlib
import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response
from typing_extensions import TypedDict

from gateway.api import body
from gateway.api.admin import check_admin
from gateway.api.endpoint import Body, Endpoint, EndpointGroup
from gateway.api.openai.errors import ErrorBody
from gateway.api.query import read_query
from gateway.api.reply import json_response
from gateway.api.service import Service
from gateway.config.key_file import KeyRights
from gateway.core.api_key import ApiKey, CaptureMode
from gateway.core.errors import (
    AdminOnly,
    InvalidKey,
    KeyExists,
    KeyLeftovers,
    KeyOfOperator,
    LastAdmin,
    NotFound,
    QuotaExceeded,
    ServerIsOpen,
    StorageFull,
    StoreOff,
    Unavailable,
)

if TYPE_CHECKING:  # it brings SQLAlchemy
    from gateway.accounting.stored_keys import StoredKeys

GROUP = "Keys"
ROOT = "/keys"
ONE = f"{ROOT}/{{name}}"
WHICH = {"name": "The key's name."}
OF_ALL = EndpointGroup(
    group=GROUP, root=ROOT, failure=ErrorBody, fails=(AdminOnly, Unavailable), which=WHICH
)
DEED = "manage keys"
NEW_NAME = r"^[A-Za-z0-9]([A-Za-z0-9 ._@+-]{0,62}[A-Za-z0-9._@+-])?$"
"""A name that stands in an address as it is."""


class NewKeyBody(KeyRights):
    name: Annotated[str, Field(pattern=NEW_NAME)]
    """Letters, digits and `._@+-`, and spaces inside."""
    close: bool = False
    """True: a server that is open to all needs a key from now on."""
    adopt: bool = False
    """True: files, batches and responses that an earlier key of this name has left become this
    one's; without it they are a reason to refuse."""


class KeyChanges(KeyRights):
    """New values of some rights; null takes a limit away."""


class RevokeQuery(BaseModel):
    now: bool = False
    """True: requests of the key that wait or run on this server end, too."""


class KeyObject(TypedDict):
    object: Literal["key"]
    name: str
    source: Literal["operator", "store"]
    """``operator``: it is one of `--api-key` and `--api-key-file`, and is changed there."""
    active: bool
    """False: a key of the operator has its name or its secret, and counts instead."""
    created_at: int | None
    """Unix seconds; null for the operator's."""
    admin: bool
    max_priority: float | None
    weight: float
    requests_per_minute: int | None
    tokens_per_minute: int | None
    tokens_per_day: int | None
    tokens_per_month: int | None
    used_today: int | None
    """Tokens of this day in UTC; null for a key without a budget."""
    used_this_month: int | None
    max_stored_bytes: int | None
    cache_group: str | None
    models: list[str] | None
    capture: CaptureMode | None
    """Null: as the server's `--capture` says."""


class NewKey(KeyObject):
    key: str
    """The secret, which is told now and never again."""


class KeyList(TypedDict):
    object: Literal["list"]
    data: list[KeyObject]
    open: bool
    """True: the server needs no key."""


class RevokedKey(TypedDict):
    object: Literal["key"]
    name: str
    deleted: Literal[True]
    ended: int
    """Requests that ended with it."""


class KeyEndpoints:
    """For keys of admins; a server without keys lets programs of its own machine in."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        endpoint = OF_ALL.endpoint
        new = Body(type=NewKeyBody, example={"name": "app", "tokens_per_day": 1_000_000})
        changes = Body(type=KeyChanges, example={"tokens_per_day": 2_000_000})
        writing = (StoreOff, StorageFull, NotFound, KeyOfOperator)
        return [
            endpoint(ROOT, self.keys, KeyList),
            endpoint(
                ROOT,
                self.add_key,
                NewKey,
                *(*writing, KeyExists, KeyLeftovers, QuotaExceeded, ServerIsOpen),
                method="POST",
                body=new,
            ),
            endpoint(
                ONE, self.limit_key, KeyObject, *writing, LastAdmin, method="PATCH", body=changes
            ),
            endpoint(f"{ONE}/rotate", self.rotate_key, NewKey, *writing, method="POST"),
            endpoint(
                ONE,
                self.revoke_key,
                RevokedKey,
                *(*writing, LastAdmin),
                method="DELETE",
                query=RevokeQuery,
            ),
        ]

    async def keys(self, request: Request) -> Response:
        """All keys, without their secrets."""
        check_admin(request, DEED)
        accounts, stored = self._service.accounts, self._service.accounts.known_keys()
        ring = accounts.keyring
        data = [self._object(key, None) for key in ring.given]
        data += [self._object(key, stored.get(key.name)) for key in ring.stored]
        answer: KeyList = {"object": "list", "data": data, "open": ring.open}
        return json_response(answer)

    async def add_key(self, request: Request) -> Response:
        """Add a key.

        The answer has its secret, which is stored as a hash alone. The first key of a server that
        is open to all must be an admin's, and `close` must be true: from then on, every client
        needs a key. A name that an earlier key had is refused as long as files, batches or
        responses of that one are there, unless `adopt` is true.
        """
        keys, raw = await self._changing(request)
        given = body.parse(NewKeyBody, raw)  # strict: a limit with a typing error is none
        rights = KeyRights.model_validate(given.model_dump(exclude={"name", "close", "adopt"}))
        secret = await keys.add(given.name, rights, close=given.close, adopt=given.adopt)
        return await self._told(given.name, secret)

    async def limit_key(self, request: Request) -> Response:
        """Change rights of a key.

        Fields that are not named stay as they are; null takes a limit away. What the key has used
        counts under the new limits. Requests that run are not touched.
        """
        keys, raw = await self._changing(request)
        name, given = request.path_params["name"], body.parse(KeyChanges, raw)
        await keys.limit(name, {field: getattr(given, field) for field in given.model_fields_set})
        return await self._told(name)

    async def rotate_key(self, request: Request) -> Response:
        """Give a key another secret.

        The one before is refused from now on; requests that run with it go on.
        """
        keys, _ = await self._changing(request, bare=True)
        name = request.path_params["name"]
        return await self._told(name, await keys.rotate(name))

    async def revoke_key(self, request: Request) -> Response:
        """End a key.

        New requests with it are refused at once; those that run or wait go on to their ends, unless
        `now` is true. Other servers of the same database hear of it within seconds.
        """
        keys, _ = await self._changing(request, bare=True)
        now = read_query(request, RevokeQuery).now
        name, ended = request.path_params["name"], 0
        await keys.revoke(name)
        if now and self._service.accounts.keyring.named(name) is None:
            error = InvalidKey("this API key was revoked")
            ended = sum(
                served.dispatcher.end_owner(name, error) for served in self._service.registry.models
            )
        answer: RevokedKey = {"object": "key", "name": name, "deleted": True, "ended": ended}
        return json_response(answer)

    async def _changing(
        self, request: Request, *, bare: bool = False
    ) -> "tuple[StoredKeys, dict[str, Any]]":
        """Return what changes keys, and the body, of a client that may."""
        check_admin(request, DEED)
        keys = self._service.accounts.keys()
        return keys, (await self._service.read(request))[0] if not bare else {}

    async def _told(self, name: str, secret: str | None = None) -> Response:
        accounts = self._service.accounts
        with contextlib.suppress(StorageFull, Unavailable):  # a secret must not be lost by it
            await accounts.look()  # the key may have got its first budget
        key = next(each for each in accounts.keyring.stored if each.name == name)
        answer = self._object(key, accounts.known_keys().get(name))
        return json_response(answer if secret is None else {**answer, "key": secret})

    def _object(self, key: ApiKey, created_at: int | None) -> KeyObject:
        accounts = self._service.accounts
        used: tuple[int | None, int | None] = None, None
        if key.tokens_per_day is not None or key.tokens_per_month is not None:
            used = accounts.budgets.used(key.name)
        return {
            "object": "key",
            "name": key.name,
            "source": "operator" if created_at is None else "store",
            "active": any(each is key for each in accounts.keyring),
            "created_at": created_at,
            "used_today": used[0],
            "used_this_month": used[1],
            "admin": key.admin,
            "max_priority": None if math.isinf(key.max_priority) else key.max_priority,
            "weight": key.weight,
            "requests_per_minute": key.requests_per_minute,
            "tokens_per_minute": key.tokens_per_minute,
            "tokens_per_day": key.tokens_per_day,
            "tokens_per_month": key.tokens_per_month,
            "max_stored_bytes": key.max_stored_bytes,
            "cache_group": key.cache_group,
            "models": None if key.models is None else list(key.models),
            "capture": key.capture,
        }
