"""POST /models/reload and its state: for admins."""

from typing import Any, ClassVar

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.admin import check_admin
from gateway.api.body import parse
from gateway.api.endpoint import JSON, Body, Endpoint, Handler
from gateway.api.models import GROUP
from gateway.api.openai.errors import ErrorBody
from gateway.api.reply import json_response, unless_hung_up
from gateway.api.service import Service
from gateway.core.errors import (
    AdminOnly,
    ReloadBusy,
    ReloadFailed,
    ReloadRefused,
    Unavailable,
)
from gateway.core.strict import STRICT
from gateway.reloading.reloader import Reloader
from gateway.reloading.report import ReloadReport, failures


class ReloadBody(BaseModel):
    model_config = STRICT
    closed: ClassVar[bool] = True
    """A field that is not known is an error: an operator's mistake is to change nothing."""

    model: str | None = None
    """Reload this model alone; without it all models, keys and options."""
    wait: bool = True
    """False: the answer comes at once, with the state of the reload that has begun."""


class ReloadEndpoints:
    """For the operator: needs an admin's key or, without keys, the server's own machine."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def endpoints(self) -> list[Endpoint]:
        body = Body(type=ReloadBody, example={"model": "forge-tiny"}, required=False)
        fails = (Unavailable, ReloadBusy, ReloadRefused, ReloadFailed)
        return [
            self._endpoint(
                self.reload, method="POST", body=body, later=True, fails=(AdminOnly, *fails)
            ),
            self._endpoint(self.state, fails=(AdminOnly, ReloadRefused)),
        ]

    def _endpoint(self, handler: Handler, **more: Any) -> Endpoint:
        return Endpoint(
            path="/models/reload",
            handler=handler,
            group=GROUP,
            answers={JSON: ReloadReport},
            failure=ErrorBody,
            **more,
        )

    async def reload(self, request: Request) -> Response:
        """Read the options, models and keys again.

        That is the config file, the environment and the command line of the start, and the key
        file. Models whose files or options are different get new workers beside the old ones,
        which finish what they began. An error in what is read changes nothing. The answer comes
        when all new requests go to the new workers; the reload goes on if its client hangs up.
        Without a body it is for all models.
        """
        check_admin(request)
        given = parse(ReloadBody, await self._raw(request))
        reloader = self._reloader()
        reloader.begin(given.model)
        if given.wait:
            await unless_hung_up(request.receive, reloader.wait())
        return self._answer(reloader.report)

    async def state(self, request: Request) -> Response:
        """Return the state of the reload that runs, or what became of the last one."""
        check_admin(request)
        return json_response(self._reloader().report)

    async def _raw(self, request: Request) -> dict[str, Any]:
        """Return the body's object; an empty one where there is no body."""
        headers = dict(request.headers.raw)
        if b"transfer-encoding" not in headers and headers.get(b"content-length", b"0") == b"0":
            return {}
        raw, _ = await self._service.read(request)
        return raw

    def _reloader(self) -> Reloader:
        if self._service.reloader is None:
            raise ReloadRefused("this server was made without sources of options to read again")
        return self._service.reloader

    @staticmethod
    def _answer(report: ReloadReport) -> Response:
        """Raises ReloadRefused or ReloadFailed."""
        if report["state"] == "running":
            return json_response(report, 202)
        if report["state"] == "refused":
            raise ReloadRefused(f"nothing was changed: {report['error']}")
        if report["state"] == "failed":
            raise ReloadFailed(f"it broke off: {report['error']}")
        if failures(report):
            raise ReloadFailed(f"{failures(report)}; GET /models/reload has the rest")
        return json_response(report)
