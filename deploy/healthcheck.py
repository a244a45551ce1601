"""Exit code 0 if the server in this container serves: for the Dockerfile's HEALTHCHECK."""

import os
import ssl
import sys
import urllib.request

TIMEOUT_S = 4.0


def main() -> int:
    """Asks as the environment says that the server listens."""
    tls = bool(os.environ.get("FORGE_SSL_CERTFILE"))
    port = os.environ.get("FORGE_PORT", "8080")
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}/health"
    context = ssl.create_default_context()
    # The certificate is for the server's name, not for this address.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),  # whatever proxy the container has is not for this
        urllib.request.HTTPSHandler(context=context),
    )
    try:
        with opener.open(url, timeout=TIMEOUT_S):
            return 0
    except OSError as error:  # URLError and HTTPError, too
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
