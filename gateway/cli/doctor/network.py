"""The network: does the hub answer, from which models come?"""

import httpx2
from huggingface_hub import constants

from gateway.cli.doctor.finding import Finding, ok, warning
from gateway.model_files.source import shown

PATIENCE_S = 5.0
HELP = (
    "models on this machine are served all the same: --model FILE. Behind a proxy set HTTPS_PROXY "
    "(and SSL_CERT_FILE, if it has certificates of its own); HF_ENDPOINT names a mirror"
)


def hub() -> Finding:
    """Ask the hub's front page; any answer will do."""
    address = shown(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE:
        return ok("network", "HF_HUB_OFFLINE is set: models come from the cache alone")
    try:
        with httpx2.Client(timeout=PATIENCE_S) as client:
            status = client.head(constants.ENDPOINT).status_code
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as failure:
        reason = str(failure).strip().partition("\n")[0] or type(failure).__name__
        return warning("network", f"{address} can't be reached: {reason}", HELP)
    if status >= 500 or status == 407:
        return warning("network", f"{address} answers {status}", HELP)
    return ok("network", f"{address} answers")
