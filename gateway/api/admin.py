"""The test that a request may do what is for admins: manage models and keys, see all usage."""

from starlette.requests import Request

from gateway.api.local import from_here
from gateway.core.api_key import ANYONE, ApiKey
from gateway.core.errors import AdminOnly


def is_admin(request: Request) -> bool:
    """Tell if a request has an admin's key; without keys, if it certainly comes from here."""
    key: ApiKey = request.state.key
    return from_here(request) if key is ANYONE else key.admin


def check_admin(request: Request, what: str = "manage models") -> None:
    """Raises :class:`AdminOnly`; ``what`` the request would do."""
    if is_admin(request):
        return
    if request.state.key is ANYONE:
        raise AdminOnly(
            f"without API keys only programs on the server's own machine may {what}, and web pages "
            "of no other origin; --api-key opens this to others"
        )
    raise AdminOnly(f"this API key may not {what}: its table needs 'admin = true'")
