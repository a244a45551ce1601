"""The server's options as they are now: a reload changes some of them."""

from gateway.config.config import Config


class LiveConfig:
    """One place that all read, and the reload writes."""

    def __init__(self, config: Config) -> None:
        self.now = config
