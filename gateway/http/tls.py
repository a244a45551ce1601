"""The server's side of TLS, checked before anything else starts."""

import ssl
from pathlib import Path
from typing import NoReturn

from gateway.config.config import ConfigError


def server_context(certfile: Path | None, keyfile: Path | None) -> ssl.SSLContext | None:
    """Return a context for a certificate chain and its key, both PEM; None without them.

    Raises :class:`ConfigError`.
    """
    if certfile is None and keyfile is None:
        return None
    if keyfile is None:
        raise ConfigError("--ssl-certfile: needs --ssl-keyfile beside it")
    if certfile is None:
        raise ConfigError("--ssl-keyfile: needs --ssl-certfile beside it")
    for option, file in (("--ssl-certfile", certfile), ("--ssl-keyfile", keyfile)):
        _check_readable(option, file)

    def no_password() -> NoReturn:
        # Without this OpenSSL would ask for it on the terminal, and a service would hang.
        raise ConfigError(
            f"--ssl-keyfile: {keyfile} is encrypted; a key without password is needed"
        )

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certfile, keyfile, no_password)
    except ssl.SSLError as error:
        reason = error.reason.replace("_", " ").lower() if error.reason else "not both are PEM"
        raise ConfigError(
            f"--ssl-certfile: {certfile} and {keyfile} can't be used together: {reason}"
        ) from error
    return context


def _check_readable(option: str, file: Path) -> None:
    """Name the unreadable file, which OpenSSL's own errors do not."""
    try:
        with file.open("rb") as stream:
            stream.read(1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{option}: can't read {file}: {reason}") from error
