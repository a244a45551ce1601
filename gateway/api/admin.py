"""The test that a request may change which models or keys there are, and see all usage."""

from starlette.requests import Request

from gateway.api.local import from_here
from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.errors import AdminOnly


def is_admin(request: Request) -> bool:
    """Tell if a request has an admin's key; without keys, if it certainly comes from here."""
    key: ApiKey = request.state.key
    return from_here(request) if key is ANYONE else key.admin


def check_admin(request: Request, deed: str = "manage models") -> None:
    """Raises :class:`AdminOnly`; ``deed``: what only an admin may."""
    if is_admin(request):
        return
    if request.state.key is ANYONE:
        raise AdminOnly(
            f"without API keys clients {deed} from the server's own machine alone, and from no "
            "web page of another origin; --api-key opens this to others"
        )
    raise AdminOnly(f"this API key may not {deed}: it needs 'admin = true'")
